# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Completes by the tables below it, which make_completions.py writes.

# Prints the crashes of this machine. Asked only when one is due: it may take a moment.
_kdumpd_crashes()
{
	echo latest
	# Not everybody has it on the path.
	PATH=$PATH:/usr/sbin kdumpd crashes list --json 2>/dev/null | sed -n 's/^    "id": "\(.*\)",\{0,1\}$/\1/p'
}

# _kdumpd_reply KIND WORD: sets COMPREPLY to what a value of this kind may be that begins so.
_kdumpd_reply()
{
	case $1 in
	file)
		# Fails outside of a completion, as in a test.
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$2")
		;;
	directory)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -d -- "$2")
		;;
	crash) mapfile -t COMPREPLY < <(compgen -W "$(_kdumpd_crashes)" -- "$2") ;;
	kernel) mapfile -t COMPREPLY < <(cd /lib/modules 2>/dev/null && compgen -d -- "$2") ;;
	choice:*)
		local choices=${1#choice:}
		mapfile -t COMPREPLY < <(compgen -W "${choices//,/ }" -- "$2")
		;;
	esac
}

_kdumpd()
{
	local cur=${COMP_WORDS[COMP_CWORD]} line=kdumpd awaited='' position=0 word
	COMPREPLY=()
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		# bash takes --policy=FILE apart.
		if [[ $word == = ]]; then
			continue
		# A minus alone is a file.
		elif [[ $word == -?* ]]; then
			awaited=${_kdumpd_values[$line $word]-}
		elif [[ -n $awaited ]]; then
			awaited=''
		elif [[ -n ${_kdumpd_commands[$line]-} ]]; then
			line+=" $word"
		else
			((++position))
		fi
	done
	[[ $cur == = ]] && cur=''

	local -a arguments
	read -ra arguments <<<"${_kdumpd_arguments[$line]-}"
	local last=$((${#arguments[@]} - 1))
	if ((position >= last)) && [[ ${arguments[*]: -1} == ... ]]; then
		position=$((last - 1))
	fi
	if [[ -n $awaited && $cur != -* ]]; then
		_kdumpd_reply "$awaited" "$cur"
	elif [[ -n ${_kdumpd_commands[$line]-} && $cur != -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "${_kdumpd_commands[$line]}" -- "$cur")
	elif [[ -n ${arguments[position]-} && $cur != -* ]]; then
		_kdumpd_reply "${arguments[position]}" "$cur"
	else
		local options='' given=" ${COMP_WORDS[*]:0:COMP_CWORD} "
		for word in ${_kdumpd_options[$line]-}; do
			[[ $given == *" $word "* ]] || options+=" $word"
		done
		mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
	fi
}

complete -F _kdumpd kdumpd
