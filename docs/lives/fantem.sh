#!/usr/bin/env bash
# A whole life in the Fantem dialect, against a running `hearthgate dev`:
# register a phone, register an account, activate it, log in, refresh, log out.
#
#   docs/lives/fantem.sh
#
# Needs curl and jq. URL, DATA and HEARTHGATE say where the server, its data folder and its command are.
set -euo pipefail
URL=${URL:-http://127.0.0.1:8080}
DATA=${DATA:-hearthgate-dev}
HEARTHGATE=${HEARTHGATE:-target/release/hearthgate}

name=anna$RANDOM$RANDOM
# Clients send the MD5 of the password, never the password.
password=$(printf 'correct horse battery' | md5sum | cut -d ' ' -f 1)

# Shows an answer, and stops where it is no success.
ok() { { cat; echo; } | tee /dev/stderr | jq -e 'if (.code | tostring) == "1" then . else halt_error end'; }

echo "== a phone is registered and gets its guid"
guid=$(curl -sS "$URL/client/register" -H 'Content-Type: application/json' -d '{
  "sn": "phone-'"$name"'", "wifiMac": "02:00:00:00:00:01", "bluetoothMac": "02:00:00:00:00:02", "uuid": "phone-'"$name"'",
  "type": "android_phone", "manufacturer": "Example", "model": "One", "systemType": "android", "systemVersion": "14",
  "applicationVersion": "V2.0.4.15" }' | ok | jq -r .data.guid)

echo "== an account is registered"
curl -sS "$URL/accounts" -d "username=$name" -d "email=$name@example.com" -d "password=$password" -d "rePassword=$password" \
  -d language=en | ok > /dev/null

echo "== it cannot log in before it is activated"
login=$(jq -n --arg name "$name" --arg password "$password" '{username: $name, password: $password}')
curl -sS "$URL/v2/accounts/login" -H "Cookie: guid=$guid" -d "$login" | jq -e '.code == "102"'

echo "== the link in the mail activates it"
id=$("$HEARTHGATE" outbox list --json --data "$DATA" | jq -r --arg to "$name@example.com" 'map(select(.to == $to)) | last | .id')
link=$("$HEARTHGATE" outbox show "$id" --json --data "$DATA" | jq -r .text | grep -o 'http[^ ]*')
curl -sS "$link" | grep -o '<h1>Account activated</h1>'

echo "== it logs in"
session=$(curl -sS "$URL/v2/accounts/login" -H "Cookie: guid=$guid" -d "$login" | ok)
account=$(jq -r .data.accountId <<< "$session")
refresh=$(jq -r .data.accountRefreshToken <<< "$session")

echo "== it refreshes its tokens"
session=$(curl -sS "$URL/accounts/flushToken" -d "accountId=$account" -d "uuid=phone-$name" -d "flushToken=$refresh" | ok)
access=$(jq -r .data.accountToken <<< "$session")

echo "== the session is alive, and has no cube yet"
curl -sS "$URL/accounts/heart?accountId=$account&accountToken=$access&uuid=phone-$name" | jq -e '.code == "114"'

echo "== it logs out, and the token is worth nothing any more"
curl -sS "$URL/accounts/logout" -d "accountId=$account" -d "uuid=phone-$name" -d "accountToken=$access" | ok > /dev/null
curl -sS "$URL/accounts/heart?accountId=$account&accountToken=$access&uuid=phone-$name" | jq -e '.code == "2001"'
echo "a whole life"
