#!/usr/bin/env bash
# A whole life in the eWeLink v8 dialect, against a running `hearthgate dev`:
# ask for the region, get a code, register, log in, refresh, reset the password.
#
#   docs/lives/ewelink-v8.sh
#
# Needs curl, jq and openssl. URL, DATA and HEARTHGATE say where the server, its data folder and its command are; APPID and SECRET are those
# of the public documents' sample application, which `dev` has.
set -euo pipefail
URL=${URL:-http://127.0.0.1:8080}
DATA=${DATA:-hearthgate-dev}
HEARTHGATE=${HEARTHGATE:-target/release/hearthgate}
APPID=McFJj4Noke1mGDZCR1QarGW7P9Ycp0Vr
SECRET=OdPuCZ4PkPPi0rVKRVcGmll2NM6vVk0c

email=anna$RANDOM$RANDOM@example.com

sign() { printf %s "$1" | openssl dgst -sha256 -hmac "$SECRET" -binary | base64; }

# Shows an answer, and stops where it is no success.
ok() { { cat; echo; } | tee /dev/stderr | jq -e 'if (.error // 0) == 0 then . else halt_error end'; }

# A signed call with a body: the fields that every call carries are added.
post() {
  local body
  body=$(jq -cn --arg appid "$APPID" --argjson ts "$(date +%s)" "$2 + {appid: \$appid, nonce: \"q3wz95p6\", ts: \$ts, version: 8}")
  curl -sS "$URL$1" -H "Authorization: Sign $(sign "$body")" -H 'Content-Type: application/json' -d "$body"
}

# A signed call without a body: the parameters are signed sorted by name.
get() {
  local query="appid=$APPID&nonce=q3wz95p6&$2&ts=$(date +%s)&version=8"
  curl -sS "$URL$1?$query" -H "Authorization: Sign $(sign "$query")"
}

# The newest code that was sent to the address.
code() {
  local id
  id=$("$HEARTHGATE" outbox list --json --data "$DATA" | jq -r --arg to "$email" 'map(select(.to == $to)) | last | .id')
  "$HEARTHGATE" outbox show "$id" --json --data "$DATA" | jq -r .text | grep -oE '\b[0-9]{6}\b' | head -n 1
}

echo "== which region is a person from +86 in?"
get /api/user/region country_code=86 | ok > /dev/null

echo "== a code is sent, and an account registered with it: that is a login, too"
post /api/sms "{sendType: \"0\", email: \"$email\", lang: \"en\"}" | ok > /dev/null
post /api/user/register "{email: \"$email\", verificationCode: \"$(code)\", password: \"correct horse battery\"}" | ok > /dev/null

echo "== it logs in"
session=$(post /api/user/login "{email: \"$email\", password: \"correct horse battery\"}" | ok)

echo "== it refreshes its tokens"
session=$(get /api/user/refresh "rt=$(jq -r .rt <<< "$session")" | ok)

echo "== it changes its password"
curl -sS "$URL/api/user/password" -H "Authorization: Bearer $(jq -r .at <<< "$session")" \
  -d '{"oldPassword": "correct horse battery", "newPassword": "another horse battery"}' | ok > /dev/null

echo "== it forgets it, and sets a new one with a code; the old session ends"
post /api/sms "{sendType: \"1\", email: \"$email\"}" | ok > /dev/null
post /api/user/password/reset "{email: \"$email\", verificationCode: \"$(code)\", password: \"a third horse battery\"}" | ok > /dev/null
get /api/user/refresh "rt=$(jq -r .rt <<< "$session")" | jq -e '.error == 401'
echo "a whole life"
