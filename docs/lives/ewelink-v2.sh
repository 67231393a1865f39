#!/usr/bin/env bash
# A whole life in the eWeLink v2 dialect, against a running `hearthgate dev`:
# ask for the region, get a code, register, log in, refresh, log out, close the account.
#
#   docs/lives/ewelink-v2.sh
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
ok() { { cat; echo; } | tee /dev/stderr | jq -e 'if .error == 0 then .data else halt_error end'; }

# A signed call.
signed() { curl -sS "$URL$1" -H "X-CK-Appid: $APPID" -H "Authorization: Sign $(sign "$2")" -H 'Content-Type: application/json' -d "$2"; }

# A call of somebody who is logged in.
bearer() { curl -sS "${@:3}" "$URL$1" -H "Authorization: Bearer $2"; }

# The newest code that was sent to the address.
code() {
  local id
  id=$("$HEARTHGATE" outbox list --json --data "$DATA" | jq -r --arg to "$email" 'map(select(.to == $to)) | last | .id')
  "$HEARTHGATE" outbox show "$id" --json --data "$DATA" | jq -r .text | grep -oE '\b[0-9]{6}\b' | head -n 1
}

echo "== which region is a person from +86 in?"
curl -sS "$URL/v2/utils/get-region?countryCode=86" -H "X-CK-Appid: $APPID" -H "Authorization: Sign $(sign countryCode=86)" | ok > /dev/null

echo "== a code is sent, and an account registered with it: that is a login, too"
signed /v2/user/verification-code '{"type":0,"email":"'"$email"'","lang":"en"}' | ok > /dev/null
signed /v2/user/register '{"countryCode":"+86","email":"'"$email"'","verificationCode":"'"$(code)"'","password":"correct horse battery"}' | ok > /dev/null

echo "== it logs in"
login='{"countryCode":"+86","email":"'"$email"'","password":"correct horse battery"}'
session=$(signed /v2/user/login "$login" | ok)

echo "== it refreshes its tokens"
session=$(signed /v2/user/refresh "$(jq -c '{rt}' <<< "$session")" | ok)
at=$(jq -r .at <<< "$session")

echo "== it sees its profile, and logs out"
bearer /v2/user/profile "$at" | ok > /dev/null
bearer /v2/user/logout "$at" -X DELETE | ok > /dev/null
bearer /v2/user/profile "$at" | jq -e '.error == 401'

echo "== it comes back to close its account"
at=$(signed /v2/user/login "$login" | ok | jq -r .at)
signed /v2/user/verification-code '{"type":3,"email":"'"$email"'"}' | ok > /dev/null
bearer /v2/user/close-account "$at" -d '{"verificationCode":"'"$(code)"'"}' | ok > /dev/null
signed /v2/user/login "$login" | jq -e '.error == 10003'
echo "a whole life"
