#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The agent's image is what agent.h promises. TN_AGENT_ELF: the image; TN_AGENT_OBJECTS: the archive it was linked from.

# Fails if a line of standard input matches.
none() { if grep -E "$1"; then return 1; fi; }

@test "text and data are at most 256 KiB, and there is no data" {
    size=$(readelf -lW "$TN_AGENT_ELF" | awk '$1 == "LOAD" { print $6 }')
    [ "$(echo "$size" | wc -l)" -eq 1 ]
    [ "$((size))" -gt 4096 ]
    [ "$((size))" -le 262144 ]
    readelf -lW "$TN_AGENT_ELF" | none '^ *LOAD.* RW'
}

@test "no relocations, no TLS, no constructors, nothing undefined, no interpreter" {
    readelf -rW "$TN_AGENT_ELF" | grep -q 'no relocations'
    readelf -lW "$TN_AGENT_ELF" | none 'TLS|INTERP|DYNAMIC'
    readelf -SW "$TN_AGENT_ELF" | none '\.(tdata|tbss|init_array|fini_array|ctors|dtors|init|fini|got|plt|data|bss)( |$)'
    [ -z "$(nm -u "$TN_AGENT_ELF")" ]
}

@test "position-independent: every reference in its objects is relative" {
    # Debugging sections refer absolutely; they are not loaded.
    other=$(readelf -rW "$TN_AGENT_OBJECTS" | awk '
        /^Relocation section/ { debug = ($3 ~ /debug|eh_frame/) }
        !debug && /R_X86_64_/ && !/R_X86_64_(PC32|PLT32) / { print }')
    [ -z "$other" ]
    [ "$(readelf -rW "$TN_AGENT_OBJECTS" | grep -cE 'R_X86_64_(PLT32|PC32)')" -gt 10 ]
}

@test "general registers only, but where the host's are kept around calls of it, or put back behind a breakpoint" {
    [ "$(objdump -d "$TN_AGENT_ELF" | wc -l)" -gt 1000 ]
    [ "$(objdump -d "$TN_AGENT_ELF" | grep -c '<tn_agent_\(call_entry\|call_full\|resume\)>:')" -eq 3 ]
    objdump -d "$TN_AGENT_ELF" | awk '/^[0-9a-f]+ </ { skip = /<tn_agent_(call_entry|call_full|resume)>:/ } !skip' |
        none '%([xyz]mm[0-9]|mm[0-7]|st|k[0-7]\b)|fxsave|fxrstor|xsave|xrstor|emms'
}

@test "one syscall instruction, a handler's return, and no other way into the kernel" {
    [ "$(objdump -d "$TN_AGENT_ELF" | grep -cw syscall)" -eq 2 ]
    objdump -d --disassemble=tn_agent_sigreturn "$TN_AGENT_ELF" | grep -A1 'mov  *$0xf,%eax' | grep -qw syscall
    objdump -d "$TN_AGENT_ELF" | none '\b(int +\$0x|sysenter|int3|ud2|hlt)'
    objdump -d --disassemble=tn_syscall6 "$TN_AGENT_ELF" | grep -qw syscall
}

@test "stack frames are small: the host's stack is lent" {
    frames=$(objdump -d "$TN_AGENT_ELF" |
        awk '/^[0-9a-f]+ </ { name = $2 } /sub +\$0x[0-9a-f]+,%rsp/ { split($NF, part, /[$,]/); print name, part[2] }')
    [ -n "$frames" ]
    while read -r name size; do
        most=288
        [ "$name" != "<tn_helper_get_stackid>:" ] || most=1100 # all addresses that a stack may have
        [ "$((size))" -le "$most" ] || { echo "$name takes $((size)) bytes"; return 1; }
    done <<<"$frames"
}
