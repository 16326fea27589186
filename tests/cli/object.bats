#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Files that are no proper object: every one gets an error that says what it is, nothing crashes, nothing is loaded.

load common
setup() { common_setup; }
teardown() { common_teardown; }

refused_as() { # FILE REASON
    tenon attach "$1"
    [ "$status" -eq 1 ]
    [ -z "$out" ]
    said "tenon attach: "
    said "[$2]"
    tenon verify --json "$1"
    [ "$status" -eq 2 ]
    [ -z "$out" ]
    said "[$2]"
}

# byte OFFSET HEX…: writes bytes over a copy of the object.
patched() {
    cp "$OBSERVE" "$DIR/patched.o"
    printf "$2" | dd of="$DIR/patched.o" bs=1 seek="$1" conv=notrunc status=none
}

@test "an empty file" { : >"$DIR/o"; refused_as "$DIR/o" empty_file; }
@test "a text file" { echo hello >"$DIR/o"; refused_as "$DIR/o" not_elf; }
@test "a file that is not there" { refused_as "$DIR/none.o" no_file; }
@test "a folder" { refused_as "$DIR" not_a_file; }
@test "a pipe without a writer does not hang" { mkfifo "$DIR/o"; refused_as "$DIR/o" not_a_file; }
@test "an x86-64 program" { refused_as /bin/true not_bpf; said x86-64; }
@test "a header cut short" { head -c 40 "$OBSERVE" >"$DIR/o"; refused_as "$DIR/o" truncated_elf; }
@test "a 32-bit file" { patched 4 '\001'; refused_as "$DIR/patched.o" not_bpf; }
@test "an object of the other byte order" {
    clang -target bpfeb -g -O2 -D__TARGET_ARCH_x86 '-DSECTION="uprobe//bin/true:main"' -I/usr/include/x86_64-linux-gnu -c "$SOURCE/bench/count.bpf.c" -o "$DIR/o"
    refused_as "$DIR/o" wrong_endian
}

@test "an object cut anywhere is refused and ends no command by a signal" {
    size=$(stat -c %s "$OBSERVE")
    for at in 64 200 $((size / 4)) $((size / 2)) $((size - 600)) $((size - 1)); do
        head -c "$at" "$OBSERVE" >"$DIR/o"
        tenon verify "$DIR/o"
        echo "cut at $at: $status $err"
        [ "$status" -eq 2 ]
        said "[truncated_elf]"
    done
}

@test "an object with damaged bytes is judged or refused, and ends no command by a signal" {
    size=$(stat -c %s "$COUNT")
    for seed in $(seq 1 40); do
        cp "$COUNT" "$DIR/o"
        for i in 1 2 3 4; do
            at=$(((seed * 7919 + i * 104729) % size))
            printf "\\x$(printf %02x $(((seed * 31 + i * 57) % 256)))" | dd of="$DIR/o" bs=1 seek=$at conv=notrunc status=none
        done
        tenon verify "$DIR/o"
        echo "seed $seed: $status $err"
        [ "$status" -le 2 ]
    done
}

@test "sections whose table points outside" {
    patched 40 '\377\377\377\377\377\377\377\177' # e_shoff
    refused_as "$DIR/patched.o" truncated_elf
}

@test "an object with no program" {
    echo 'int nothing;' >"$DIR/o.c"
    clang -target bpf -g -O2 -c "$DIR/o.c" -o "$DIR/o"
    refused_as "$DIR/o" no_program
}

@test "a section that is unknown is refused by name, with what is known" {
    cat >"$DIR/o.c" <<'C'
#define SEC(name) __attribute__((section(name), used))
SEC("xdp") int drop(void *ctx) { return 1; }
char LICENSE[] SEC("license") = "GPL";
C
    clang -target bpf -g -O2 -c "$DIR/o.c" -o "$DIR/o"
    tenon attach "$DIR/o"
    [ "$status" -eq 1 ]
    said "'drop'"
    said "'xdp'"
    said "uretprobe"
    said "[unknown_section]"
    sed -i 's/"xdp"/"nonsense"/' "$DIR/o.c"
    clang -target bpf -g -O2 -c "$DIR/o.c" -o "$DIR/o"
    tenon verify --json "$DIR/o"
    [ "$status" -eq 1 ]
    [ "$(json 'j[0]["reason"]')" = unknown_section ]
}

@test "sections that are no place say how one is written" {
    for section in uprobe/nocolon uprobe/:f uprobe/x: uprobe/x:f+ uprobe/x:f+zz uretprobe/x:f+4; do
        cat >"$DIR/o.c" <<C
#define SEC(name) __attribute__((section(name), used))
SEC("$section") int f(void *ctx) { return 0; }
char LICENSE[] SEC("license") = "GPL";
C
        clang -target bpf -g -O2 -c "$DIR/o.c" -o "$DIR/o"
        tenon attach "$DIR/o"
        echo "$section: $status $err"
        [ "$status" -eq 1 ]
        said "[bad_section]"
    done
}

@test "a function that is not there: the nearest names" {
    sed 's/ngx_http_free_request/ngx_http_free_requesx/' "$OBSERVE" >"$DIR/o"
    tenon attach "$DIR/o"
    [ "$status" -eq 1 ]
    said "/usr/sbin/nginx"
    said "ngx_http_free_request"
    said "[no_symbol]"
}

@test "a file in a section that is not there" {
    sed 's#/usr/sbin/nginx#/usr/sbin/nginy#' "$OBSERVE" >"$DIR/o"
    tenon attach "$DIR/o"
    [ "$status" -eq 1 ]
    said "/usr/sbin/nginy"
    said "[no_file]"
}
