# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_ws_routerctl_global_optspecs
    string join \n socket= json h/help V/version
end

function __fish_ws_routerctl_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_ws_routerctl_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_ws_routerctl_using_subcommand
    set -l cmd (__fish_ws_routerctl_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -l socket -d 'Use this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -l json -d 'Print JSON for programs instead of text for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -s V -l version -d 'Print version'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "list" -d 'List the registrations'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "show" -d 'Show a registration and its members'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "remove" -d 'Remove registrations and close their members\' connections'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "disconnect" -d 'Close connections of members, by the numbers that "show" prints'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "status" -d 'Show the state of the daemon'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "doctor" -d 'Check the daemon, its configuration and this machine, and report what to change, the worst first'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "top" -d 'Show live activity: totals, registrations by traffic, and their members'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "why" -d 'Show what happened to a registration, and why it or its members are gone'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "events" -d 'Print events as they happen, one per line, until interrupted'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "reload" -d 'Reload the configuration and the certificates'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "drain" -d 'Take the daemon out of service gradually, and show the progress'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "upgrade" -d 'Replace the daemon with the program that is on the disk now, without dropping a connection'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "check" -d 'Test a deployment from outside: register, join twice, pass messages, remove'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "pipe" -d 'Connect standard input and output with those of another machine, through a deployment'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "join" -d 'Join a registration as a device: each line is a text message'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "connect" -d 'Connect standard input and output, or local TCP connections, with a service that "expose" makes reachable'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "expose" -d 'Make TCP services reachable through a deployment, for "connect" elsewhere'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "token" -d 'Create a token for an access rule: print the line for the file of tokens, and once the token itself'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "version" -d 'Print the versions of this program and of the daemon'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand list" -l sort -d 'Sort, the largest first' -r -f -a "id\t''
age\t''
members\t''
messages\t''
bytes\t''
outbox\t''"
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand list" -l socket -d 'Use this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand list" -l busy -d 'List only registrations that have members'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand list" -l json -d 'Print JSON for programs instead of text for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand list" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand show" -l socket -d 'Use this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand show" -l json -d 'Print JSON for programs instead of text for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand show" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand remove" -l socket -d 'Use this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand remove" -l json -d 'Print JSON for programs instead of text for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand remove" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand disconnect" -l socket -d 'Use this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand disconnect" -l json -d 'Print JSON for programs instead of text for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand disconnect" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand status" -l socket -d 'Use this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand status" -l json -d 'Print JSON for programs instead of text for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand status" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand doctor" -l socket -d 'Use this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand doctor" -l json -d 'Print JSON for programs instead of text for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand top" -s d -l interval -d 'Time between updates' -r
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand top" -l socket -d 'Use this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand top" -l json -d 'Print JSON for programs instead of text for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand top" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand why" -l socket -d 'Use this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand why" -l json -d 'Print JSON for programs instead of text for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand why" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand events" -l socket -d 'Use this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand events" -s f -l follow -d 'Wait for further events; this is the default'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand events" -l json -d 'Print JSON for programs instead of text for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand events" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand reload" -l or-signal -d 'If this process doesn\'t answer on the admin socket, send it SIGHUP instead; for service managers' -r
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand reload" -l socket -d 'Use this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand reload" -l json -d 'Print JSON for programs instead of text for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand reload" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand drain" -l over -d 'Close the members within this time, those of one registration together' -r
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand drain" -l socket -d 'Use this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand drain" -l undo -d 'Put the daemon back into service'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand drain" -l json -d 'Print JSON for programs instead of text for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand drain" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand upgrade" -l socket -d 'Use this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand upgrade" -l json -d 'Print JSON for programs instead of text for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand upgrade" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand check" -l token-file -d 'Send the token in this file, if the access rules require one' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand check" -l client-certificate -d 'Send the certificate in this PEM file, if the router asks for one' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand check" -l client-key -d 'Private key of this certificate, in a PEM file' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand check" -l warning -d 'Warn if the certificate expires sooner, or a message takes longer: days=N,rtt=TIME' -r
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand check" -l critical -d 'The same for the critical state' -r
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand check" -l timeout -d 'Fail if a step takes longer' -r
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand check" -l socket -d 'Use this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand check" -l insecure -d 'Accept any certificate, such as a self-signed one'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand check" -l monitor -d 'Print one line and exit as monitoring systems expect: 0 ok, 1 warning, 2 critical, 3 unknown'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand check" -l json -d 'Print JSON for programs instead of text for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand check" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand pipe" -l token-file -d 'Send the token in this file, if the access rules require one' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand pipe" -l client-certificate -d 'Send the certificate in this PEM file, if the router asks for one' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand pipe" -l client-key -d 'Private key of this certificate, in a PEM file' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand pipe" -l id -d 'Join this registration instead of a new one' -r
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand pipe" -l key -d 'Join with this key, which other users on this machine can see; prefer $WS_ROUTER_KEY' -r
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand pipe" -l key-file -d 'Join with the key in this file' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand pipe" -l timeout -d 'Fail if nothing is received from the other end for this time' -r
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand pipe" -l socket -d 'Use this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand pipe" -l insecure -d 'Accept any certificate, such as a self-signed one'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand pipe" -l host -d 'Join as a host, and create the registration if it doesn\'t exist; the default without --id'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand pipe" -l client -d 'Join as a client; the default with --id'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand pipe" -s n -l no-input -d 'Read nothing from standard input'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand pipe" -l plain -d 'Send and receive only the data, if the other end is another program'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand pipe" -l json -d 'Print JSON for programs instead of text for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand pipe" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand join" -l token-file -d 'Send the token in this file, if the access rules require one' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand join" -l client-certificate -d 'Send the certificate in this PEM file, if the router asks for one' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand join" -l client-key -d 'Private key of this certificate, in a PEM file' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand join" -l id -d 'Join this registration' -r
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand join" -l kind -d 'Kind of the registration to create: lobby, hostclient or paired' -r
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand join" -l key-file -d 'Join with the key in this file, instead of $WS_ROUTER_KEY' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand join" -l timeout -d 'Fail if the router doesn\'t answer within this time' -r
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand join" -l socket -d 'Use this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand join" -l insecure -d 'Accept any certificate, such as a self-signed one'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand join" -l register -d 'Create a registration, print its id, and join it'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand join" -l host -d 'Join as a host; the default with --register'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand join" -l client -d 'Join as a client; the default with --id'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand join" -s n -l no-input -d 'Read nothing from standard input, and stay until the router closes the connection'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand join" -l json -d 'Print JSON for programs instead of text for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand join" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand connect" -l token-file -d 'Send the token in this file, if the access rules require one' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand connect" -l client-certificate -d 'Send the certificate in this PEM file, if the router asks for one' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand connect" -l client-key -d 'Private key of this certificate, in a PEM file' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand connect" -l id -d 'Registration of the services' -r
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand connect" -l key-file -d 'Use the key in this file, instead of $WS_ROUTER_KEY' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand connect" -l listen -d 'Connect each TCP connection to this port, instead of standard input and output; of 127.0.0.1 unless ADDR is another' -r
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand connect" -l timeout -d 'Fail if the router doesn\'t answer, or nothing is received from the other end, for this time' -r
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand connect" -l socket -d 'Use this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand connect" -l insecure -d 'Accept any certificate, such as a self-signed one'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand connect" -l json -d 'Print JSON for programs instead of text for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand connect" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand expose" -l token-file -d 'Send the token in this file, if the access rules require one' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand expose" -l client-certificate -d 'Send the certificate in this PEM file, if the router asks for one' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand expose" -l client-key -d 'Private key of this certificate, in a PEM file' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand expose" -l id -d 'Register under this id instead of a new one' -r
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand expose" -l key-file -d 'Use the key in this file, instead of $WS_ROUTER_KEY' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand expose" -l connections -d 'Reject clients while so many are connected' -r
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand expose" -l timeout -d 'Give up on a router or a service that doesn\'t answer, and on a client that is silent, for this time' -r
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand expose" -l socket -d 'Use this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand expose" -l insecure -d 'Accept any certificate, such as a self-signed one'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand expose" -l json -d 'Print JSON for programs instead of text for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand expose" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand token" -l socket -d 'Use this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand token" -l json -d 'Print JSON for programs instead of text for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand token" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand version" -l socket -d 'Use this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand version" -l json -d 'Print JSON for programs instead of text for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand version" -s h -l help -d 'Print help'
