# For interactive shells only.
case $- in *i*) ;; *) return ;; esac

HISTCONTROL=ignoreboth
HISTSIZE=10000
shopt -s histappend checkwinsize globstar

[ -r /etc/profile.d/exai.sh ] && . /etc/profile.d/exai.sh
[ -r /usr/share/bash-completion/bash_completion ] && . /usr/share/bash-completion/bash_completion

if [ "$TERM" != dumb ]; then
  eval "$(dircolors -b)"
  alias ls='ls --color=auto' grep='grep --color=auto'
  # Green name, blue folder, a red mark after a failed command.
  PS1='\[\e[1;32m\]\u@\h\[\e[0m\] \[\e[1;34m\]\w\[\e[0m\] $([ $? = 0 ] || printf "\[\e[1;31m\]")\$\[\e[0m\] '
else
  PS1='\u@\h \w \$ '
fi
alias ll='ls -l' la='ls -A'
