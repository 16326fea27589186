#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Static analysis, with the checks that say something true about this code.

setup() { cd "$BATS_TEST_DIRNAME/../.." || exit 1; }

# What is released by a cleanup attribute or taken over by a macro is a leak to cppcheck: ASan looks for those.
@test "cppcheck: no error" {
    command -v cppcheck >/dev/null || skip "no cppcheck"
    git ls-files 'src/*.c' >"$BATS_TEST_TMPDIR/files"
    run cppcheck -q -j "$(nproc)" --std=c11 --language=c -Isrc -D__x86_64__ -D_GNU_SOURCE --max-configs=1 \
        --inline-suppr --error-exitcode=1 \
        --suppress=missingInclude --suppress=unknownMacro --suppress=syntaxError --suppress=preprocessorErrorDirective \
        --suppress=internalAstError \
        --suppress=memleak --suppress=resourceLeak --suppress=autoVariables --suppress=uninitvar:src/verify/cfg.c \
        --file-list="$BATS_TEST_TMPDIR/files"
    echo "$output"
    [ "$status" -eq 0 ]
}

@test "clang-tidy: no finding of the chosen checks" {
    command -v clang-tidy >/dev/null || skip "no clang-tidy"
    [ -f build-clang/compile_commands.json ] || skip "no clang build: run all of tests/run"
    checks='-*,bugprone-suspicious-memset-usage,bugprone-suspicious-semicolon'
    checks+=',bugprone-infinite-loop,bugprone-string-literal-with-embedded-nul,bugprone-undefined-memory-manipulation'
    checks+=',bugprone-misplaced-operator-in-strlen-in-alloc,bugprone-posix-return'
    checks+=',bugprone-terminating-continue,bugprone-too-small-loop-variable'
    run bash -c 'git ls-files "src/*.c" | grep -v ^src/agent/ |
        xargs -P "$(nproc)" -n 4 clang-tidy -p build-clang --quiet --warnings-as-errors="*" --checks="$0" 2>/dev/null' "$checks"
    echo "$output"
    [ "$status" -eq 0 ]
}
