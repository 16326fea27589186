#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# <tenon/eim.h> compiled every way there is: the same code with and without it, no relocation, and notes that
# outlive linking and stripping. TN_SHOW_NOTES: prints the notes of a file.

bats_require_minimum_version 1.5.0

setup() {
    root=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
    source=$BATS_TEST_DIRNAME/annotated.c
    cat >"$BATS_TEST_TMPDIR/expected" <<'END'
entry|process_begin||my_process_request|nonnull(r)
entry|unused||never_called
state|read_pid|read|my_pid
state|read_pid_too|read|my_pid
state|write_time|write|cached_time->sec
function|host_time||my_time|rtn > 0
function|argument||my_real_argument|nonnull(r)|len == size(name)|reads(r->status)
function|bare||my_time
END
    cd "$BATS_TEST_TMPDIR" || exit 1
}

shown() { "$TN_SHOW_NOTES" "$1" | diff -u expected -; }

# Every section that holds code, as bytes.
code() { objcopy -O binary --only-section='.text*' "$1" "$1.text" && cat "$1.text"; }

# compile COMPILER LANGUAGE FLAGS…: with.o and without.o
compile() {
    local cc=$1 language=$2
    shift 2
    "$cc" -x "$language" -Wall -Wextra -pedantic -Werror "$@" -I"$root/include" -Wno-unused-function -c "$source" -o with.o
    "$cc" -x "$language" -Wall -Wextra -Wno-unused-function "$@" -DEIM_OFF -c "$source" -o without.o
}

each() { # each COMMAND: for every compiler, language, level
    for pair in gcc:c g++:c++ clang:c clang++:c++; do
        command -v "${pair%:*}" >/dev/null || { echo "# no ${pair%:*}" >&3; continue; }
        for level in -O0 -O1 -O2 -O3 -Os; do
            for more in '' -g -ffunction-sections '-fPIC -fcf-protection=full'; do
                # shellcheck disable=SC2086
                "$@" "${pair%:*}" "${pair#*:}" $level $more || { echo "$pair $level $more"; return 1; }
            done
        done
    done
}

same_code() {
    compile "$@"
    cmp <(code with.o) <(code without.o)
    [ -s with.o.text ]
    ! readelf -rW with.o | grep -q 'rela\?.note.eim'
    cmp <(nm with.o | awk '{print $(NF-1), $NF}' | sort) <(nm without.o | awk '{print $(NF-1), $NF}' | sort)
    shown with.o
}

@test "the code of each object is the same with and without annotations, and needs no relocation for them" {
    each same_code
}

@test "every standard takes them, without a warning" {
    for std in c99 c11 c17 gnu99; do
        for cc in gcc clang; do compile "$cc" c -std=$std; shown with.o; done
    done
    for std in c++11 c++14 c++17 c++20; do
        for cc in g++ clang++; do compile "$cc" c++ -std=$std; shown with.o; done
    done
}

linked() {
    local cc=$1
    shift 2
    [ "$1" = -O2 ] && [ $# -eq 1 ] || return 0
    compile "$cc" "$([ "$cc" = "${cc%++}" ] && echo c || echo c++)" "$@"
    for flags in '' -Wl,--gc-sections '-static' '-no-pie'; do
        # shellcheck disable=SC2086
        "$cc" with.o $flags -o program
        shown program
        strip --strip-all program
        shown program
        readelf -lW program | grep -q NOTE
        # without a section table, by its segments
        python3 - program <<'END'
import sys
data = bytearray(open(sys.argv[1], "rb").read())
data[0x28:0x30] = bytes(8)
data[0x3a:0x40] = bytes(6)
open("bare", "wb").write(data)
END
        shown bare
    done
    if command -v llvm-strip >/dev/null; then
        "$cc" with.o -o program
        llvm-strip --strip-all program
        shown program
    fi
}

@test "notes outlive linking, strip and the loss of the section table" {
    each linked
}

@test "link-time optimisation keeps them, and gives the same code" {
    for pair in gcc:c g++:c++ clang:c clang++:c++; do
        cc=${pair%:*}
        for level in -O0 -O2 -O3; do
            if ! "$cc" -x "${pair#*:}" $level -flto -DEIM_OFF "$source" -o plain 2>errors; then
                echo "# $cc cannot optimise at link time here: $(head -n 1 errors)" >&3
                break
            fi
            "$cc" -x "${pair#*:}" $level -flto -I"$root/include" "$source" -Wl,--gc-sections -o program
            shown program
            strip program
            shown program
        done
    done
    compile gcc c -O2 -flto -ffat-lto-objects
    cmp <(code with.o) <(code without.o)
    [ -s with.o.text ]
}

@test "objects that are linked together are read together" {
    compile gcc c -O2
    printf '%s\n' '#include <tenon/eim.h>' 'EIM_ENTRY(other, elsewhere);' 'int elsewhere(void) { return 1; }' >other.c
    gcc -O2 -I"$root/include" -c other.c
    gcc with.o other.o -o program
    "$TN_SHOW_NOTES" program | sort | diff -u <({ cat expected; echo 'entry|other||elsewhere'; } | sort) -
}
