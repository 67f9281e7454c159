#!/bin/sh
# Prints the options for cargo that choose the fastest build that can be made here: gzip by ISA-L, if
# there is what building that takes.
for tool in nasm autoconf automake libtoolize make; do
    command -v "$tool" >/dev/null 2>&1 || exit 0
done
echo --features isal
