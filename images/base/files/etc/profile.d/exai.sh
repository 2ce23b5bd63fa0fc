export LANG="${LANG:-C.UTF-8}"
export PATH="$HOME/.local/bin:$PATH"
export PAGER="${PAGER:-less}" LESS="${LESS:--FRX}"
# Said once to a person at a terminal, who would otherwise look for a fault: there is no card unless a policy gives one.
case $- in
*i*)
	if [ -z "${EXAI_GREETED:-}" ] && ! ls /sys/class/net 2>/dev/null | grep -qv '^lo$'; then
		echo "This workspace has no network: no policy allows it." >&2
		export EXAI_GREETED=1
	fi
	;;
esac
