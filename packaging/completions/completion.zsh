# SPDX-License-Identifier: LGPL-2.1-or-later
# Each command has a function below, which make_completions.py writes.

# The crashes of this machine, the newest first. Asked only when one is due: it may take a moment.
__kdumpd_crash()
{
	# zsh takes "--" for a beginning of both.
	[[ $PREFIX != -* ]] || return
	# Not everybody has it on the path.
	local -x PATH=$PATH:/usr/sbin
	local -a crashes
	crashes=(latest ${(Oaf)"$(_call_program crashes kdumpd crashes list --json 2>/dev/null | sed -n 's/^    "id": "\(.*\)",\{0,1\}$/\1/p')"})
	_describe -V crash crashes
}

__kdumpd_kernel()
{
	local -a kernels
	kernels=(/lib/modules/*(N/:t))
	_describe kernel kernels
}

# __kdumpd_commands FUNCTION NAME:ABOUT... -- SPEC...: one of these commands, each of which FUNCTION_NAME completes.
__kdumpd_commands()
{
	local name=$1 curcontext=$curcontext context state state_descr line
	local -a commands
	local -A opt_args
	shift
	commands=("${(@)argv[1,(i)--]}")
	shift $#commands
	commands[-1]=()
	_arguments -S -C : "$@" '1:command:->command' '*::argument:->argument'
	case $state in
	command) _describe command commands ;;
	argument) (($+functions[${name}_$line[1]])) && ${name}_$line[1] ;;
	esac
}
