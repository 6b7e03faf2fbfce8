#!/usr/bin/env bash
# vm.sh CACHE BINARY [ARGS...]
#
# Runs a test binary as root in a throw-away virtual machine that has control groups of version 2
# only: Debian's kernel, emulated, with nothing but busybox, the binary and its libraries. Exits with
# the binary's code, with 125 if that did not come out, with 77 and a line that says why if such a
# machine cannot be had here. CACHE keeps the unpacked kernel; VM_FILES are programs that it runs,
# VM_MODULES parts of the kernel in the order of what needs what, VM_DISKS its disks in memory.
set -euo pipefail
cannot() { echo "cannot: $*"; exit 77; }
for tool in qemu-system-x86_64 busybox cpio lz4 ldd od dpkg-deb apt-get apt-cache; do
    command -v "$tool" >/dev/null 2>&1 || cannot "$tool is not installed"
done
[ "$(uname -m)" = x86_64 ] || cannot "the machine is no x86_64"
cache=$1; binary=$(readlink -f "$2"); shift 2

# The kernel: the newest of the distribution, not installed. Its payload is unpacked, so that the
# machine boots it as it is, and not its own slow unpacker.
package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null |
    sed -n 's/.*Depends: \(linux-image-[^ ]*\).*/\1/p' | head -1)
[ -n "$package" ] || cannot "the package linux-image-cloud-amd64 is unknown to apt"
version=${package#linux-image-}
kernel=$cache/$version
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$cache"
exec 9> "$cache/lock"
flock 9
if [ ! -e "$kernel/vmlinux" ]; then
    mkdir "$work/deb"
    (cd "$work/deb" && apt-get download -q "$package" > apt.log 2>&1) ||
        cannot "$package could not be downloaded: $(tail -1 "$work/deb/apt.log")"
    dpkg-deb -x "$work"/deb/*.deb "$work/deb"
    image=$work/deb/boot/vmlinuz-$version
    field() { od -An -tu"$2" -j $(($1)) -N "$2" "$image" | tr -d ' '; }
    sectors=$(field 0x1f1 1)
    begin=$(((sectors == 0 ? 5 : sectors + 1) * 512 + $(field 0x248 4)))
    # The last four bytes are the length of what comes out.
    length=$(($(field 0x24c 4) - 4))
    rm -rf "$kernel"
    mkdir -p "$kernel"
    head -c $((begin + length)) "$image" | tail -c "$length" > "$work/vmlinux.lz4"
    lz4 -dqf "$work/vmlinux.lz4" "$kernel/vmlinux.part"
    mv "$work/deb/lib/modules/$version" "$kernel/modules"
    mv "$kernel/vmlinux.part" "$kernel/vmlinux"
fi
exec 9>&-

root=$work/root
mkdir -p "$root"/{bin,proc,sys,dev,tmp,run,etc,modules}
cp "$(command -v busybox)" "$root/bin/busybox"
cp "$binary" "$root/test"
strip -S "$root/test" 2>/dev/null || true
# What else it runs, where it expects it, and all libraries.
for file in ${VM_FILES:-}; do
    mkdir -p "$root/$(dirname "$file")"
    cp "$file" "$root/$file"
    strip -S "$root/$file" 2>/dev/null || true
done
# shellcheck disable=SC2086
ldd "$binary" ${VM_FILES:-} | grep -o '^[[:space:]].* (' | grep -o '/[^ ]*' | sort -u |
    while read -r library; do
        mkdir -p "$root/$(dirname "$library")"
        cp -L "$library" "$root/$library"
    done
# In the order of what needs what. The disk in memory is for swap: one with a file behind it would
# take the memory that it is to free.
for module in loop brd ${VM_MODULES:-}; do
    find "$kernel/modules" -name "$module.ko" -exec cp {} "$root/modules/" \;
done
printf '%s\n' loop.ko "brd.ko rd_nr=${VM_DISKS:-1} rd_size=327680" > "$root/modules/order"
# Those that are not there are built in.
for module in ${VM_MODULES:-}; do
    [ ! -e "$root/modules/$module.ko" ] || echo "$module.ko" >> "$root/modules/order"
done
echo 'root:x:0:0:root:/:/bin/sh' > "$root/etc/passwd"
printf '%q ' "$@" > "$root/arguments"
cat > "$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/ RUST_BACKTRACE=1
if [ "$1" != second ]; then
    # Nothing can be mounted in place of the first root.
    mkdir /new
    mount -t tmpfs -o mode=755 new /new
    for entry in /*; do
        case $entry in /new | /proc | /sys | /dev | /tmp | /run) ;; *) cp -a "$entry" /new/ ;; esac
    done
    mkdir -p /new/proc /new/sys /new/dev /new/tmp /new/run
    exec switch_root /new /init second
fi
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /dev/pts
mount -t tmpfs shm /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs tmp /tmp
mount -t cgroup2 -o nsdelegate,memory_recursiveprot none /sys/fs/cgroup
while read -r module; do
    # Its parameters stand beside it.
    insmod /modules/$module || echo "insmod $module failed"
done < /modules/order
mkdir /sys/fs/cgroup/init
echo 1 > /sys/fs/cgroup/init/cgroup.procs
eval "/test $(cat /arguments)"
echo "VM_CODE=$?"
reboot -f
INIT
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet) > "$work/initrd"

timeout "${VM_SECONDS:-240}" qemu-system-x86_64 \
    -M microvm,isa-serial=on,rtc=on,acpi=off -accel tcg,thread=multi -cpu max -m 1024 -smp 2 \
    -no-reboot -nographic -nodefaults -serial stdio -kernel "$kernel/vmlinux" -initrd "$work/initrd" \
    -append "console=ttyS0 quiet panic=-1 reboot=t cgroup_no_v1=all mitigations=off psi=1 \
swapaccount=1 tepui_test" < /dev/null | tr -d '\r' | tee "$work/log" || true
exit "$(sed -n 's/^VM_CODE=//p' "$work/log" | tail -1 | grep . || echo 125)"
