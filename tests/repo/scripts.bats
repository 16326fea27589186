#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The scripts of the repository, held against shellcheck and against what they promise.

setup() { cd "$BATS_TEST_DIRNAME/../.." || exit 1; }

shell_scripts() {
    git ls-files | while read -r file; do
        [ -f "$file" ] && [ "${file##*.}" != bats ] && head -n 1 "$file" | grep -aqE '^#!.*\b(ba)?sh\b' && echo "$file"
    done
    true
}

@test "shellcheck has nothing to say" {
    files=$(shell_scripts)
    [ -n "$files" ]
    # shellcheck disable=SC2086
    shellcheck -S warning $files
}

@test "install-deps with everything there says nothing and touches neither apt nor a policy" {
    dir=$BATS_TEST_TMPDIR
    printf '#!/bin/sh\ntouch %s/called\nexit 1\n' "$dir" >"$dir/apt-get"
    chmod +x "$dir/apt-get"
    echo libc6 >"$dir/list"
    run env PATH="$dir:$PATH" TENON_PACKAGES="$dir/list" TENON_POLICY="$dir/policy-rc.d" packaging/install-deps
    [ "$status" -eq 0 ]
    [ -z "$output" ]
    [ ! -e "$dir/called" ]
    [ ! -e "$dir/policy-rc.d" ]
}

@test "install-deps denies services while apt works and puts the old policy back when apt fails" {
    [ "$(id -u)" = 0 ] || skip "only root installs"
    dir=$BATS_TEST_TMPDIR
    printf '#!/bin/sh\ncat %s/policy-rc.d >>%s/seen\nexit 1\n' "$dir" "$dir" >"$dir/apt-get"
    chmod +x "$dir/apt-get"
    echo tenon-no-such-package >"$dir/list"
    echo '# the old one' >"$dir/policy-rc.d"
    run env PATH="$dir:$PATH" TENON_PACKAGES="$dir/list" TENON_POLICY="$dir/policy-rc.d" packaging/install-deps
    [ "$status" -ne 0 ]
    grep -q 'exit 101' "$dir/seen"
    [ "$(cat "$dir/policy-rc.d")" = '# the old one' ]
    # and none where there was none
    rm "$dir/policy-rc.d"
    run env PATH="$dir:$PATH" TENON_PACKAGES="$dir/list" TENON_POLICY="$dir/policy-rc.d" packaging/install-deps
    [ "$status" -ne 0 ]
    [ ! -e "$dir/policy-rc.d" ]
}

@test "install-deps as an ordinary user names what is missing and who can install it" {
    list=$(mktemp "${TMPDIR:-/tmp}/tenon-list.XXXXXX")
    echo tenon-no-such-package >"$list"
    chmod 644 "$list"
    as=()
    [ "$(id -u)" != 0 ] || as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    run "${as[@]}" env TENON_PACKAGES="$list" bash -s <packaging/install-deps
    rm -f "$list"
    [ "$status" -eq 1 ]
    [[ $output == *tenon-no-such-package* ]]
    [[ $output == *root* ]]
}
