#!/bin/sh
# SPDX-License-Identifier: MIT
# Links the agent image: link.sh CC ARCHIVE SCRIPT HELPERS_H EMBED_S IMAGE EMBED_OUT. The roots are what agent.h promises: every helper
# that has a row, and what trampolines and programs call. What they do not reach is not in the image.
set -eu
cc=$1 archive=$2 script=$3 helpers=$4 embed=$5 output=$6 embed_out=$7

roots=
for name in enter leave call_entry call_full read copy copy_careful copy_promised guard trap sigreturn; do
    roots="$roots -Wl,-u,tn_agent_$name"
done
for name in $(sed -n 's/^ *H([0-9]*, *\([a-z0-9_]*\),.*/\1/p' "$helpers"); do
    roots="$roots -Wl,-u,tn_helper_$name"
done

# shellcheck disable=SC2086 # the roots are words
"$cc" -nostdlib -static -Wl,-T,"$script" -Wl,--gc-sections -Wl,--build-id=none -Wl,-e,tn_agent_enter \
    -Wl,--no-undefined -Wl,-z,max-page-size=4096 -Wl,-z,noexecstack -Wl,--no-warn-rwx-segments \
    -Wl,--whole-archive "$archive" -Wl,--no-whole-archive $roots -o "$output"
cp "$embed" "$embed_out"
