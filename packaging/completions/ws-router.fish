complete -c ws-router -l config -d 'Reads this file, and fails if it can\'t [default: /etc/ws-router/ws-router.toml if there is one]' -r -F
complete -c ws-router -l listen -d 'Listens here instead of at the file\'s listeners: [::]:8741, unix:/PATH or systemd:NAME; may be repeated' -r
complete -c ws-router -l check -d 'Reads everything that a start would read, prints the problems or "ok", and exits'
complete -c ws-router -l print-config -d 'Prints the configuration in force, every key written out, and exits'
complete -c ws-router -l inetd -d 'Serves the socket on descriptor 0, as inetd passes it'
complete -c ws-router -s h -l help -d 'Print help'
complete -c ws-router -s V -l version -d 'Print version'
