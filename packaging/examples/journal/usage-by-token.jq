# Usage of each access rule and token, from the log entries of members that have left, and of POST /send:
#   journalctl --since today -o json -u ws-router | jq -nrf usage-by-token.jq
# Connections that are still open aren't included; "ws-routerctl show ID" has their counts.
def number: . // "0" | tonumber;
def left: .MESSAGE_ID == "df8b7f432f5140848040c574f2f16a1d";
[inputs] | map(select(.MESSAGE_ID == "28b0b233000442aaab54ac598a622d9d").WSROUTER_SUPPRESSED | number) as $missing
| ["RULE", "TOKEN", "CONNECTIONS", "MESSAGES IN", "BYTES IN", "MESSAGES OUT", "BYTES OUT"],
  (map(select(left or .MESSAGE_ID == "f02649e33c2d402eb1ac37c65e736f22"))
   | group_by([.WSROUTER_RULE, .WSROUTER_TOKEN_NAME])[]
   | [.[0].WSROUTER_RULE // "-", .[0].WSROUTER_TOKEN_NAME // "-", (map(select(left)) | length)]
     + [("MESSAGES_IN", "BYTES_IN", "MESSAGES_OUT", "BYTES_OUT") as $name | map(.["WSROUTER_" + $name] | number) | add]),
  (if ($missing | length) > 0 then ["not logged, since there were too many events: \($missing | add)"] else empty end)
| @tsv
