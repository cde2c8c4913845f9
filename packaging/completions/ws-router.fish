complete -c ws-router -l config -d 'Read this configuration [default: /etc/ws-router/ws-router.toml if it exists]' -r -F
complete -c ws-router -l listen -d 'Listen here instead of on the file\'s listeners: [::]:8741, unix:/PATH or systemd:NAME; may be repeated' -r
complete -c ws-router -l as -d 'Check with the rights of this user [default for root: those of ws-router.service]' -r
complete -c ws-router -l check -d 'Check the configuration and all files that it names, print the problems or "ok", and exit'
complete -c ws-router -l json -d 'Print the findings of the check as JSON'
complete -c ws-router -l print-config -d 'Print the effective configuration with all keys, and exit'
complete -c ws-router -l inetd -d 'Serve the socket on descriptor 0, as passed by inetd'
complete -c ws-router -s h -l help -d 'Print help'
complete -c ws-router -s V -l version -d 'Print version'
