# coracle: one non-recursive Makefile. `make help` lists the targets; `./build.sh` does set-up, vendor and make in one go.
#
# Every folder is one static archive; a unit test links the archives its folder may include and no others, so a layering
# mistake is a link error. Everything lands in build/: VARIANT=release|asan|tsan|coverage|fuzz chooses compiler and flags, BUILD= moves
# our own objects elsewhere (third-party sources and libraries stay shared in build/src, build/include, build/prefix*).

SHELL       := /bin/bash
.SHELLFLAGS := -o pipefail -ec
.DELETE_ON_ERROR:
.SECONDARY:
MAKEFLAGS   += --no-builtin-rules --no-builtin-variables
.DEFAULT_GOAL := all

BUILD   ?= build
VARIANT ?= release
O       := $(BUILD)/$(VARIANT)
GEN     := build/gen
INC     := build/include
Q       := $(if $(V),,@)
say      = $(if $(V),,@printf '  %-8s %s\n' '$1' '$2')

ARCH    := $(shell uname -m)
HOSTCC  := gcc
CLANG   := clang-14
AR      := ar
PYTHON  := /usr/bin/python3
VERSION := $(shell cat vendor/version)

# ---------------------------------------------------------------------------------------------------- variants

HARDEN       := -fstack-protector-strong -fno-asynchronous-unwind-tables -ffunction-sections -fdata-sections
PREFIX_MAP   := -ffile-prefix-map=$(CURDIR)=.
MUSL_CC      := build/prefix/bin/musl-gcc
STATIC_PIE   := -static-pie -Wl,--gc-sections,-z,relro,-z,now,-z,noexecstack
SANITIZE     := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer

CC_release      := $(MUSL_CC)
PREFIX_release  := build/prefix
FLAGS_release   := -O2 -fPIE $(HARDEN)
LDFLAGS_release := $(STATIC_PIE)

CC_coverage      := $(MUSL_CC)
PREFIX_coverage  := build/prefix
FLAGS_coverage   := -O0 -fPIE --coverage -fprofile-update=atomic -DCORACLE_CHECKED
LDFLAGS_coverage := $(STATIC_PIE) --coverage

CC_asan      := $(HOSTCC)
PREFIX_asan  := build/prefix-asan
FLAGS_asan   := -O1 $(SANITIZE) -DCORACLE_CHECKED
LDFLAGS_asan := $(SANITIZE) -pthread

CC_tsan      := $(HOSTCC)
PREFIX_tsan  := build/prefix-tsan
FLAGS_tsan   := -O1 -fsanitize=thread -fno-omit-frame-pointer -DCORACLE_CHECKED
LDFLAGS_tsan := -fsanitize=thread -pthread

CC_fuzz      := $(CLANG)
PREFIX_fuzz  := build/prefix-fuzz
FLAGS_fuzz   := -O1 $(SANITIZE) -fsanitize=fuzzer-no-link -DCORACLE_CHECKED
LDFLAGS_fuzz := $(SANITIZE) -pthread

ifeq ($(CC_$(VARIANT)),)
$(error VARIANT=$(VARIANT) is none of: release asan tsan coverage fuzz)
endif

CC     := $(CC_$(VARIANT))
PREFIX := $(PREFIX_$(VARIANT))

# The third-party libraries get the variant's flags without our own warnings. UBSan only where it is affordable and clean.
VENDOR_FLAGS_build/prefix      := -O2 -g0 -fPIE $(HARDEN)
VENDOR_FLAGS_build/prefix-asan := -O1 -g $(SANITIZE)
VENDOR_FLAGS_build/prefix-tsan := -O1 -g -fsanitize=thread
VENDOR_FLAGS_build/prefix-fuzz := -O1 -g -fsanitize=address -fsanitize=fuzzer-no-link

include vendor/recipes.mk

# -------------------------------------------------------------------------------------------------------- flags

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wpointer-arith -Wundef -Wvla \
        -Wformat=2 -Wimplicit-fallthrough -Wswitch-enum -Werror
ifeq ($(VARIANT),fuzz)
WARN := -Wall -Wextra
endif

CPPFLAGS := -std=gnu17 -Ulinux -D_GNU_SOURCE -I. -I$(GEN) -isystem $(INC) $(PB_DEFS) $(INI_DEFS) $(VENDOR_DEFS)
CFLAGS   := $(FLAGS_$(VARIANT)) -g $(PREFIX_MAP)
LDFLAGS  := $(LDFLAGS_$(VARIANT))

# Flags for the objects below a path, added to the above.
flags_cmd/main        := -DCORACLE_VERSION='"$(VERSION)"'
flags_cmd/version     := -DCORACLE_VERSION='"$(VERSION)"'
# A test may define __wrap_x, a fuzz target LLVMFuzzerTestOneInput: nobody declares these.
test_flags            := -Wno-missing-prototypes

# ------------------------------------------------------------------------------------------------------ folders

FOLDERS_ALL := core/base core/loop core/config core/state core/journal core/monitor core/run core/net core/image core/life \
               nri cri/grpc cri/rpc cri/spec cri/stream cri cmd cmd/ctl cmd/check

# Programs, not library members.
MAINS := cmd/main.c core/monitor/main.c core/monitor/pause.c

# What a folder may call, all the way down: design rule "layers" (scripts/check-layers.sh checks the #include lines).
deps_core/base    :=
deps_core/loop    := core/base core/config
deps_core/config  := core/base core/loop
deps_core/state   := core/base
deps_core/journal := core/base core/loop core/config core/state
deps_core/monitor := core/base core/state
deps_core/run     := core/base core/loop core/config core/state core/monitor
deps_core/net     := core/base core/loop core/config core/state
deps_core/image   := core/base core/loop core/config core/state core/run
deps_core/life    := core/base core/loop core/config core/state core/journal core/run core/net core/image
deps_nri          := core/base core/loop core/config core/state core/run core/life
deps_cri/grpc     := core/base core/loop core/config
deps_cri/stream   := core/base core/loop core/config
deps_cri/spec     := core/base core/loop core/config core/state core/run core/image core/life
deps_cri/rpc      := $(deps_core/life) core/life cri/grpc cri/spec cri/stream
deps_cri          := $(deps_cri/rpc) cri/rpc
deps_cmd          := $(filter-out cmd,$(FOLDERS_ALL))
deps_cmd/ctl      := $(filter-out cmd/ctl cmd/check,$(FOLDERS_ALL))
deps_cmd/check    := $(filter-out cmd/ctl cmd/check,$(FOLDERS_ALL))

srcs     = $(filter-out $(MAINS),$(wildcard $1/*.c))
FOLDERS := $(foreach f,$(FOLDERS_ALL),$(if $(call srcs,$f),$f))
lib      = $O/lib/$(subst /,-,$1).a
objs     = $(patsubst %.c,$O/obj/%.o,$1)

# ------------------------------------------------------------------------------------------------------- protos

PROTOS  := $(wildcard core/state/*.proto nri/proto/*.proto cri/proto/*.proto)
GEN_H   := $(PROTOS:%.proto=$(GEN)/%.pb.h)
gen_lib  = $O/lib/gen-$(subst /,-,$(basename $1)).a

# Folders whose code speaks these messages.
protos_core/state := $(filter core/state/%,$(PROTOS))
protos_nri        := $(filter nri/%,$(PROTOS))
protos_cri/grpc   := $(filter cri/%,$(PROTOS))
protos_cri/spec   := $(filter cri/%,$(PROTOS))
protos_cri/rpc    := $(filter cri/%,$(PROTOS))
protos_cri/stream := $(filter cri/%,$(PROTOS))
protos_cri        := $(filter cri/%,$(PROTOS))

closure  = $(filter $1 $(deps_$1),$(FOLDERS))
archives = $(foreach f,$(closure),$(call lib,$f)) \
           $(foreach p,$(sort $(foreach f,$1 $(deps_$1),$(protos_$f))),$(call gen_lib,$p)) \
           $(if $(filter core/run,$1 $(deps_$1)),$(EMBED))

# ---------------------------------------------------------------------------------------- parse-time bookkeeping

# key FILE,TEXT: FILE holds TEXT, and is only written (hence newer than its dependents) when TEXT changed.
key = $(if $(subst x$(strip $(file <$1)),,x$(strip $2))$(subst x$(strip $2),,x$(strip $(file <$1))),$(shell mkdir -p $(dir $1))$(file >$1,$(strip $2)))

CC_VERSION := $(shell $(if $(filter $(MUSL_CC),$(CC)),$(HOSTCC),$(CC)) -dumpfullversion -dumpversion 2>/dev/null) $(ARCH)

# ------------------------------------------------------------------------------------------------------- vendor

MANIFEST := $(shell awk -F'\t' '/^[^\#]/ { print $$1 "|" $$2 "|" $$3 "|" $$4 }' vendor/manifest.tsv)
row       = $(filter $1|%,$(MANIFEST))
SRC_NAMES := musl $(VENDOR_LIBS)

$(foreach n,$(SRC_NAMES),$(call key,build/keys/src-$n,$(call row,$n)))
$(foreach n,$(VENDOR_LIBS),$(call key,build/keys/inc-$n,$($n_headers)))
$(foreach n,$(VENDOR_LIBS),$(call key,build/keys/$(notdir $(PREFIX))-$n,$($n_src) $($n_flags) $(foreach f,$(notdir $($n_src)) aesni.c,$($n_flags_$f)) \
	$(VENDOR_FLAGS_$(PREFIX)) $(CC) $(CC_VERSION)))

MUSL_FLAGS := -O2 -g0
$(call key,build/keys/prefix-musl,$(MUSL_FLAGS) $(CC_VERSION))

# Sources: unpacked and patched. One stamp per name.
build/stamp/src-%: build/keys/src-% scripts/vendor.sh
	$(call say,UNPACK,$*)
	$(Q)scripts/vendor.sh unpack $*
	$(Q)mkdir -p $(@D) && touch $@

# musl, with the kernel's headers copied beside its own: the wrapper looks nowhere else.
build/stamp/musl: build/stamp/src-musl build/keys/prefix-musl
	$(call say,MUSL,build/prefix)
	$(Q)mkdir -p build/log && rm -rf build/obj-musl build/prefix/bin build/prefix/include && mkdir -p build/obj-musl build/prefix
	$(Q)( cd build/obj-musl && unset MAKEFLAGS MFLAGS MAKELEVEL && \
	    ../src/musl/configure --prefix='$(CURDIR)/build/prefix' --syslibdir='$(CURDIR)/build/prefix/lib' --disable-shared \
	        --enable-wrapper=gcc CC=$(HOSTCC) CFLAGS='$(MUSL_FLAGS)' && \
	    make -j$$(nproc) && make install ) >build/log/musl.log 2>&1 || { tail -n 20 build/log/musl.log >&2; exit 1; }
	$(Q)cp -rL /usr/include/linux /usr/include/asm-generic build/prefix/include/
	$(Q)cp -rL "/usr/include/$$($(HOSTCC) -print-multiarch)/asm" build/prefix/include/asm
	$(Q)rm -rf build/obj-musl && touch $@

# Public headers, shared by all variants.
build/stamp/inc-%: build/stamp/src-% build/keys/inc-%
	$(Q)mkdir -p $(INC) && src=build/src/$* inc=$(INC) && $($*_headers)
	$(Q)touch $@
build/stamp/inc-mbedtls: vendor/mbedtls_config.h
build/stamp/inc-cmocka: vendor/cmocka_config.h
HEADERS := $(VENDOR_LIBS:%=build/stamp/inc-%)

TOOLCHAIN := $(if $(filter $(MUSL_CC),$(CC)),build/stamp/musl)

$(VENDOR_LIBS:%=$(PREFIX)/lib/lib%.a): $(PREFIX)/lib/lib%.a: build/stamp/inc-% build/keys/$(notdir $(PREFIX))-% $(TOOLCHAIN)
	$(call say,VENDOR,$@)
	$(Q)mkdir -p $(@D) build/log && tmp=$@.$$$$ && rm -rf $$tmp && mkdir $$tmp && trap "rm -rf $$tmp" EXIT && \
	for f in $(foreach s,$($*_src),$(if $(filter vendor/%,$s),$s,build/src/$*/$s)); do \
		case $$f in \
		*.asm) nasm $($*_nasm) -o $$tmp/$$(basename $$f).o $$f ;; \
		*/aesni.c) $(CC) $(VENDOR_FLAGS_$(PREFIX)) $(PREFIX_MAP) -w -isystem $(INC) $($*_flags) $($*_flags_aesni.c) -c -o $$tmp/aesni.c.o $$f ;; \
		*) $(CC) $(VENDOR_FLAGS_$(PREFIX)) $(PREFIX_MAP) -w -isystem $(INC) $($*_flags) $(if $(filter yyjson,$*),$(if $(filter %-asan,$(PREFIX)),-fno-sanitize=undefined)) \
			-c -o $$tmp/$$(basename $$f).o $$f ;; \
		esac || { echo "vendor: $*: $$f does not compile" >&2; exit 1; }; \
	done && $(AR) rcsD $$tmp/lib.a $$tmp/*.o && mv $$tmp/lib.a $@
$(PREFIX)/lib/libnanopb.a: core/base/pb_arena.h
$(PREFIX)/lib/libisal.a: vendor/isal_shim.c

VENDOR_ALL  := $(VENDOR_LIBS:%=$(PREFIX)/lib/lib%.a)
VENDOR_LINK := $(filter-out %/libcmocka.a,$(VENDOR_ALL))

# -------------------------------------------------------------------------------------------- compile and archive

$(call key,$O/keys/cflags,$(CC) $(CC_VERSION) $(CPPFLAGS) $(CFLAGS) $(WARN) $(flags_cmd/main))

path_flags = $(flags_$1) $(if $(filter tests/%,$1),$(test_flags))

$O/obj/%.o: %.c $O/keys/cflags | $(HEADERS) $(GEN_H) $(TOOLCHAIN)
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(WARN) $(call path_flags,$*) -MMD -MP -c -o $@ $<

$O/obj-gen/%.o: $(GEN)/%.c $O/keys/cflags core/base/pb_arena.h | $(HEADERS) $(GEN_H) $(TOOLCHAIN)
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(PB_ALLOC) -w -MMD -MP -c -o $@ $<

# nanopb's generator, with its options file of the same name beside the schema. Several makes may run at once: rename.
$(GEN)/%.pb.c $(GEN)/%.pb.h: %.proto build/stamp/src-nanopb build/stamp/nanopb-generator
	$(call say,PROTO,$<)
	$(Q)mkdir -p $(GEN)/$(*D) && tmp=$(GEN)/.$(notdir $*).$$$$ && rm -rf $$tmp && mkdir $$tmp && trap "rm -rf $$tmp" EXIT && \
	$(PYTHON) build/src/nanopb/generator/nanopb_generator.py -q -I . -D $$tmp $< && \
	mv $$tmp/$*.pb.c $(GEN)/$*.pb.c && mv $$tmp/$*.pb.h $(GEN)/$*.pb.h

# The generator compiles its own schema on first use, into its own directory.
build/stamp/nanopb-generator: build/stamp/src-nanopb
	$(Q)$(PYTHON) -c 'import google.protobuf' 2>/dev/null || { echo "make: $(PYTHON) has no google.protobuf: apt-get install python3-protobuf" >&2; exit 1; }
	$(Q)$(PYTHON) build/src/nanopb/generator/nanopb_generator.py --version >/dev/null && touch $@

define proto_rules
$(GEN)/$(basename $1).pb.c $(GEN)/$(basename $1).pb.h: $(wildcard $(basename $1).options)
$(call gen_lib,$1): $O/obj-gen/$(basename $1).pb.o
	$$(Q)mkdir -p $$(@D) && rm -f $$@ && $$(AR) rcsD $$@ $$<
endef
$(foreach p,$(PROTOS),$(eval $(call proto_rules,$p)))

define folder_rules
$(call key,$O/keys/lib-$(subst /,-,$1),$(call srcs,$1))
$(call lib,$1): $(call objs,$(call srcs,$1)) $O/keys/lib-$(subst /,-,$1)
	$$(Q)mkdir -p $$(@D) && rm -f $$@ && $$(AR) rcsD $$@ $$(filter %.o,$$^)
endef
$(foreach f,$(FOLDERS),$(eval $(call folder_rules,$f)))

# ------------------------------------------------------------- the embedded programs: monitor and pause (core/monitor)

# Neither position independent nor dynamic: without relocations all monitors of a node share their pages. Always musl,
# whatever the variant.
E          := $(BUILD)/elf
ELF_CFLAGS := -Os -fno-pie -no-pie $(HARDEN) $(PREFIX_MAP) -g
ELF_LINK   := $(MUSL_CC) -static -no-pie -Wl,--gc-sections,-z,noexecstack,-z,norelro,--build-id=none -s
elf_objs    = $(patsubst %.c,$E/obj/%.o,$1)
MONITOR_C  := $(if $(wildcard core/monitor/main.c),core/monitor/main.c $(call srcs,core/monitor) $(wildcard core/state/exit_record.c))
PAUSE_C    := $(wildcard core/monitor/pause.c)

$(call key,$E/keys,$(ELF_CFLAGS) $(ELF_LINK) $(CPPFLAGS) $(WARN) $(CC_VERSION) $(MONITOR_C) $(PAUSE_C))

$E/obj/%.o: %.c $E/keys | $(HEADERS) $(GEN_H) build/stamp/musl
	$(call say,CC,$< (elf))
	$(Q)mkdir -p $(@D)
	$(Q)$(MUSL_CC) $(CPPFLAGS) $(ELF_CFLAGS) $(WARN) -MMD -MP -c -o $@ $<

$E/base.a: $(call elf_objs,$(call srcs,core/base)) $E/keys
	$(Q)rm -f $@ && $(AR) rcsD $@ $(filter %.o,$^)

# An empty file stands in while there is no source: the symbols then enclose nothing.
$E/monitor: $(call elf_objs,$(MONITOR_C)) $(if $(MONITOR_C),$E/base.a) $E/keys scripts/check-elf.sh
	$(call say,LINK,$@)
	$(Q)$(if $(MONITOR_C),$(ELF_LINK) -o $@ $(filter %.o,$^) $E/base.a && scripts/check-elf.sh plain $@,mkdir -p $(@D) && : >$@)

$E/pause: $(call elf_objs,$(PAUSE_C)) $E/keys scripts/check-elf.sh
	$(call say,LINK,$@)
	$(Q)$(if $(PAUSE_C),$(ELF_LINK) -o $@ $(filter %.o,$^) && scripts/check-elf.sh plain $@,mkdir -p $(@D) && : >$@)

EMBED := $O/lib/embedded.a
$(EMBED): core/run/embedded.S $E/monitor $E/pause | $(TOOLCHAIN)
	$(Q)mkdir -p $(@D) && rm -f $@
	$(Q)$(CC) -c -DMONITOR='"$E/monitor"' -DPAUSE='"$E/pause"' -o $O/lib/embedded.o $< && $(AR) rcsD $@ $O/lib/embedded.o && rm $O/lib/embedded.o

# ---------------------------------------------------------------------------------------------------- the binary

CORACLE  := $(if $(filter release,$(VARIANT)),$(BUILD)/coracle,$O/coracle)
ALL_LIBS := $(foreach f,$(FOLDERS),$(call lib,$f)) $(foreach p,$(PROTOS),$(call gen_lib,$p)) $(EMBED)

$(CORACLE): $O/obj/cmd/main.o $(ALL_LIBS) $(VENDOR_LINK) scripts/check-elf.sh
	$(call say,LINK,$@)
ifeq ($(VARIANT),release)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -Wl,--build-id=sha1 -o $O/coracle.full $< -Wl,--start-group $(ALL_LIBS) $(VENDOR_LINK) -Wl,--end-group
	$(Q)objcopy --only-keep-debug $O/coracle.full $(BUILD)/coracle.debug
	$(Q)strip -o $O/coracle.stripped $O/coracle.full && scripts/check-elf.sh pie $O/coracle.stripped
	$(Q)objcopy --add-gnu-debuglink=$(BUILD)/coracle.debug $O/coracle.stripped && mv $O/coracle.stripped $@
else
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $< -Wl,--start-group $(ALL_LIBS) $(VENDOR_LINK) -Wl,--end-group
endif

.PHONY: all
all: $(CORACLE)

# ---------------------------------------------------------------------------------------------------- unit tests

# T=core/net or T=core/net/test_cni narrows `make check` down.
T        ?=
TESTS_C  := $(sort $(wildcard tests/unit/*/test_*.c tests/unit/*/*/test_*.c tests/unit/*/*/*/test_*.c))
TESTS_C  := $(if $T,$(filter tests/unit/$(T:/=)/% tests/unit/$T.c,$(TESTS_C)),$(TESTS_C))
TESTS    := $(TESTS_C:tests/unit/%.c=$O/tests/%)
TEST_LIB := $(if $(wildcard tests/lib/*.c),$O/lib/tests-lib.a)

$O/lib/tests-lib.a: $(call objs,$(wildcard tests/lib/*.c))
	$(Q)mkdir -p $(@D) && rm -f $@ && $(AR) rcsD $@ $^

# A comment /* link-wrap: fsync fdatasync */ in a test replaces these functions at link time.
wraps = $$(sed -n 's,^.*/\* *link-wrap:\([^*]*\)\*/.*$$,\1,p' $1 | tr -s ' \t' '\n' | sed -n 's/..*/-Wl,--wrap=&/p')

# test_rules SOURCE,PROGRAM,FOLDER
define test_rules
$2: $(call objs,$1) $(TEST_LIB) $(call archives,$3) $(PREFIX)/lib/libcmocka.a $(VENDOR_LINK)
	$$(call say,LINK,$2)
	$$(Q)mkdir -p $$(@D)
	$$(Q)$$(CC) $$(CFLAGS) $$(LDFLAGS) $$(call wraps,$1) -o $$@ $(call objs,$1) \
		-Wl,--start-group $(TEST_LIB) $(call archives,$3) $$(VENDOR_LINK) $(PREFIX)/lib/libcmocka.a -Wl,--end-group
endef
$(foreach t,$(TESTS_C),$(eval $(call test_rules,$t,$(t:tests/unit/%.c=$O/tests/%),$(patsubst tests/unit/%/,%,$(dir $t)))))

.PHONY: check check-build
check-build: $(TESTS)
check: $(TESTS)
	$(Q)scripts/run-tests.sh $O/tests $(TESTS)
check-%:
	$(Q)$(MAKE) --no-print-directory check T=$*

# Dependency files of everything that was compiled before.
-include $(shell find $O/obj $O/obj-gen $E/obj -name '*.d' 2>/dev/null)
