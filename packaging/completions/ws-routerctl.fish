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

complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -l socket -d 'Finds the daemon at this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -l json -d 'Prints JSON for programs instead of tables for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -s V -l version -d 'Print version'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "list" -d 'Lists the registrations'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "show" -d 'Shows a registration and its members'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "remove" -d 'Removes registrations and closes their members\' connections'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "disconnect" -d 'Closes connections of members, by the numbers that "show" prints'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "status" -d 'Shows how the daemon is doing'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "top" -d 'Shows live what goes on: totals, registrations by their traffic, and their members'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "why" -d 'Tells what happened to a registration, and why it or its devices went away'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "events" -d 'Prints what happens, a line each, until it is interrupted'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "reload" -d 'Has the daemon read its configuration and certificates again'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "drain" -d 'Takes the daemon out of service gently, and shows how it goes on'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "upgrade" -d 'Has the daemon become the program that is on the disk now, without dropping a connection'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "check" -d 'Proves a deployment from outside: registers, joins twice, passes a message, times it, removes'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "pipe" -d 'Connects standard input and output with those of another end, through a deployment'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "token" -d 'Makes a token that lets a device in: prints the line for the file of tokens, and the token itself this once'
complete -c ws-routerctl -n "__fish_ws_routerctl_needs_command" -f -a "version" -d 'Prints the versions of this program and of the daemon'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand list" -l socket -d 'Finds the daemon at this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand list" -l json -d 'Prints JSON for programs instead of tables for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand list" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand show" -l socket -d 'Finds the daemon at this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand show" -l json -d 'Prints JSON for programs instead of tables for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand show" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand remove" -l socket -d 'Finds the daemon at this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand remove" -l json -d 'Prints JSON for programs instead of tables for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand remove" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand disconnect" -l socket -d 'Finds the daemon at this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand disconnect" -l json -d 'Prints JSON for programs instead of tables for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand disconnect" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand status" -l socket -d 'Finds the daemon at this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand status" -l json -d 'Prints JSON for programs instead of tables for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand status" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand top" -s d -l interval -d 'Looks at the daemon so often' -r
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand top" -l socket -d 'Finds the daemon at this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand top" -l json -d 'Prints JSON for programs instead of tables for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand top" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand why" -l socket -d 'Finds the daemon at this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand why" -l json -d 'Prints JSON for programs instead of tables for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand why" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand events" -l socket -d 'Finds the daemon at this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand events" -l follow -d 'Prints JSON lines, as --json does'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand events" -l json -d 'Prints JSON for programs instead of tables for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand events" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand reload" -l socket -d 'Finds the daemon at this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand reload" -l json -d 'Prints JSON for programs instead of tables for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand reload" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand drain" -l over -d 'Closes the members within this time, a registration\'s together' -r
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand drain" -l socket -d 'Finds the daemon at this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand drain" -l undo -d 'Puts the daemon back into service'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand drain" -l json -d 'Prints JSON for programs instead of tables for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand drain" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand upgrade" -l socket -d 'Finds the daemon at this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand upgrade" -l json -d 'Prints JSON for programs instead of tables for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand upgrade" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand check" -l token-file -d 'Shows the token in this file, where the access rules ask for one' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand check" -l client-certificate -d 'Shows the certificate in this PEM file, where the router asks for one' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand check" -l client-key -d 'The private key of this certificate, in a PEM file' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand check" -l warning -d 'Warns when the certificate lasts less, or a message takes longer: days=N,rtt=TIME' -r
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand check" -l critical -d 'The same for what is critical' -r
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand check" -l timeout -d 'Gives up when a step takes longer' -r
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand check" -l socket -d 'Finds the daemon at this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand check" -l insecure -d 'Accepts any certificate, such as a self-signed one'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand check" -l monitor -d 'Prints one line and exits as monitoring systems expect: 0 ok, 1 warning, 2 critical, 3 unknown'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand check" -l json -d 'Prints JSON for programs instead of tables for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand check" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand pipe" -l token-file -d 'Shows the token in this file, where the access rules ask for one' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand pipe" -l client-certificate -d 'Shows the certificate in this PEM file, where the router asks for one' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand pipe" -l client-key -d 'The private key of this certificate, in a PEM file' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand pipe" -l id -d 'Joins this registration instead of a fresh one' -r
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand pipe" -l key -d 'Joins with this key, which others on this machine can see then; better $WS_ROUTER_KEY' -r
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand pipe" -l key-file -d 'Joins with the key in this file' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand pipe" -l timeout -d 'Takes the other end for gone when nothing is heard of it for this long' -r
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand pipe" -l socket -d 'Finds the daemon at this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand pipe" -l insecure -d 'Accepts any certificate, such as a self-signed one'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand pipe" -l host -d 'Joins as a host, and registers if there is no such registration; the default without --id'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand pipe" -l client -d 'Joins as a client; the default with --id'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand pipe" -s n -l no-input -d 'Reads nothing from standard input'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand pipe" -l plain -d 'Sends and takes the bare data, for an end that is another program'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand pipe" -l json -d 'Prints JSON for programs instead of tables for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand pipe" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand token" -l socket -d 'Finds the daemon at this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand token" -l json -d 'Prints JSON for programs instead of tables for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand token" -s h -l help -d 'Print help'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand version" -l socket -d 'Finds the daemon at this admin socket [default: /run/ws-router/admin.sock, or that of the user\'s own daemon]' -r -F
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand version" -l json -d 'Prints JSON for programs instead of tables for people'
complete -c ws-routerctl -n "__fish_ws_routerctl_using_subcommand version" -s h -l help -d 'Print help'
