export LANG="${LANG:-C.UTF-8}"
export PATH="$HOME/.local/bin:$PATH"
export PAGER="${PAGER:-less}" LESS="${LESS:--FRX}"
