#!/bin/sh
# Builds the library of the distribution's package libespeak-ng1, from its source and
# with its patches, with address sanitizer and with the counters that libFuzzer reads.
# The voices' data is that of the installed package. Needs clang, which it installs.
#
#     fuzz/libespeak-asan.sh FOLDER    the library becomes FOLDER/lib/libespeak-ng.so.1
set -eu

mkdir -p "$1"
goal=$(cd "$1" && pwd)
clang=clang-14
export DEBIAN_FRONTEND=noninteractive

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

if ! command -v "$clang" dpkg-source >/dev/null ||
    ! [ -e "$("$clang" -print-file-name=libclang_rt.asan-x86_64.so)" ]; then
    echo "installing $clang"
    as_root apt-get update -qq || true
    as_root apt-get install -y -qq --no-install-recommends \
        "$clang" libclang-rt-14-dev dpkg-dev libc6-dev >/dev/null
fi

version=$(dpkg-query -W -f '${source:Version}' libespeak-ng1)
source="$goal/espeak-ng-$version"

# Sources from where this machine has its packages from, without changing its list.
fetch() {
    apt="$goal/apt"
    rm -rf "$apt" "$source"
    mkdir -p "$apt/lists/partial" "$apt/got"
    apt-get indextargets --format 'deb-src $(REPO_URI) $(RELEASE) $(COMPONENT)' \
        'Created-By: Packages' | sort -u >"$apt/sources.list"
    set -- -qq -o "Dir::Etc::SourceList=$apt/sources.list" -o "Dir::Etc::SourceParts=-" \
        -o "Dir::State::Lists=$apt/lists" -o "APT::Sandbox::User=root"
    apt-get "$@" update
    (cd "$apt/got" && apt-get "$@" source --download-only "espeak-ng=$version")
    dpkg-source --no-check -x "$apt"/got/*.dsc "$source" >/dev/null
    rm -rf "$apt"
}

[ -e "$source" ] || fetch

mkdir -p "$goal/lib" "$goal/config"
# What configure would find out is nothing that matters here.
: >"$goal/config/config.h"
# Faults that are known, that no text can be kept from, and that would end the search
# each time are left out of the copy that is built:
#
# - A letter of a script that the voice has no name for is spelled with what belonged to
#   languages that were given up for others meanwhile (1.51: SetTranslator2).
# - What is before a single letter is read too, to know its group (1.51: LookupLetter).
rm -rf "$goal/built"
cp -r "$source/src" "$goal/built"
keep='static Translator *kept[8]; static int at; if (kept[at]) DeleteTranslator(kept[at]);'
sed -i "s/^\t\t\tDeleteTranslator(translator2);/$keep kept[at] = translator2; at = (at + 1) % 8;/" \
    "$goal/built/libespeak-ng/translate.c"
keep='static char kept[64]; char *const single_letter = kept + 32;'
sed -i "s/^\tstatic char single_letter\[10\] = .*/\t$keep/" "$goal/built/libespeak-ng/numbers.c"

data=$(dirname "$(dpkg -L espeak-ng-data | grep '/phontab$')")
cd "$goal/built"
# As debian/rules has it, without what only plays sound or has it faster than is asked
# for here. Of the undefined behaviours those that end a process or go elsewhere.
"$clang" -shared -fPIC -o "$goal/lib/libespeak-ng.so.1.part" \
    -Wl,-soname,libespeak-ng.so.1 -w -std=c99 -D_GNU_SOURCE -g -O1 -fno-omit-frame-pointer \
    -fsanitize=address,bounds,null,integer-divide-by-zero,unreachable,fuzzer-no-link \
    -fno-sanitize-recover=all -shared-libasan \
    -DINCLUDE_KLATT -DINCLUDE_MBROLA -DUSE_ASYNC -DHAVE_MKSTEMP=1 \
    "-DPACKAGE_VERSION=\"${version%%+*}\"" "-DPATH_ESPEAK_DATA=\"$data\"" \
    -I"$goal/config" -Iinclude -Iucd-tools/src/include -Ilibespeak-ng \
    $(ls libespeak-ng/*.c | grep -v -e sPlayer -e compilembrola) ucd-tools/src/*.c \
    -lm -lpthread
mv "$goal/lib/libespeak-ng.so.1.part" "$goal/lib/libespeak-ng.so.1"
echo "$goal/lib/libespeak-ng.so.1 is libespeak-ng1 $version with address sanitizer"
