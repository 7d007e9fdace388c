#!/bin/sh
# Makes the parts of a guest image. Runs as root inside the builder: a root file system of the release in which every
# package of the recipe is unpacked and none is configured, so no maintainer script ran and nothing listens.
#
# Beside it: `settings` (KERNEL, ZFS) and `runtime` (names of packages, one a line). The packages themselves lie where apt
# put them. Results go to `out/`. What begins with "step: " on standard output is progress,
# with "failed: " the reason of a failure.
set -eu
cd /cowlab
. ./settings
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
archives=/var/cache/apt/archives
modules=usr/lib/modules/$KERNEL

# Without maintainer scripts nobody made the alternative that configure scripts look for.
ln -sf mawk /usr/bin/awk

unpack() { # the list of packages, the directory
    while read -r package; do
        dpkg-deb --fsys-tarfile "$archives/${package}_"*.deb | tar -x -C "$2" --keep-directory-symlink
    done <"$1"
}

usr_merged() { # the directory
    mkdir -p "$1/usr/bin" "$1/usr/sbin" "$1/usr/lib" "$1/usr/lib64"
    for dir in bin sbin lib lib64; do ln -sfn "usr/$dir" "$1/$dir"; done
}

build_zfs() {
    cd "/usr/src/zfs-$ZFS"
    headers=/usr/src/linux-headers-$KERNEL
    # Whoever asks whether it worked switches `set -e` off in here.
    ./configure --with-config=kernel --with-linux="$(source_of "$headers")" --with-linux-obj="$headers" || return
    make -s -j"$(nproc)" || return
    [ -n "$(zfs_modules -name zfs.ko)" ]
}

zfs_modules() { # the expression; before 2.2 each module had a directory, and there were nine
    find "/usr/src/zfs-$ZFS/module" -name '*.ko' "$@"
}

source_of() { # the headers of a flavor, whose Makefile includes that of the common headers
    sed -n 's/^include \(.*\)\/Makefile$/\1/p' "$1/Makefile" | tail -n 1
}

# Boot protocol (Documentation/arch/x86/boot.rst): setup_sects at 0x1f1, payload_offset and payload_length at 0x248 and
# 0x24c, counted from the end of the setup sectors. The payload is the ELF file, compressed.
extract_vmlinux() { # bzImage, vmlinux
    number() { od -An -t "u$2" -j "$(($1))" -N "$2" "$3" | tr -d ' '; }
    begin=$((($(number 0x1f1 1 "$1") + 1) * 512 + $(number 0x248 4 "$1")))
    # Behind the compressed data stands its plain length, 4 bytes, which xz, zstd and lz4 would take for garbage.
    length=$(($(number 0x24c 4 "$1") - 4))
    tail -c +$((begin + 1)) "$1" | head -c "$length" >payload
    case $(od -An -t x1 -N 4 payload | tr -d ' ') in
    28b52ffd) zstd -dcq payload >"$2" ;;
    fd377a58) xz -dc payload >"$2" ;;
    02214c18) lz4 -dcq payload >"$2" ;;
    1f8b*) gzip -dc payload >"$2" ;;
    *) echo "the kernel is compressed in an unknown way" >&2 && return 1 ;;
    esac
    rm payload
}

copy_modules() { # the root
    to=$1/$modules
    mkdir -p "$to/kernel" "$to/extra"
    cp "/$modules/modules.order" "/$modules/modules.builtin" "/$modules/modules.builtin.modinfo" "$to/"
    # What a guest without hardware can use. Emulation makes unpacking at every boot slow: it is done once, here.
    for part in fs lib crypto arch/x86/crypto mm block drivers/md drivers/block drivers/virtio drivers/char \
        drivers/dax drivers/nvdimm drivers/scsi drivers/target net drivers/net/veth.ko drivers/net/tun.ko \
        drivers/net/dummy.ko drivers/net/virtio_net.ko drivers/net/net_failover.ko; do
        for found in "/$modules/kernel/$part" "/$modules/kernel/$part".*; do
            [ -e "$found" ] || continue
            mkdir -p "$to/kernel/$(dirname "$part")"
            cp -a "$found" "$to/kernel/$(dirname "$part")/"
        done
    done
    find "$to" -name '*.ko.xz' -exec xz -d {} +
    find "$to" -name '*.ko.zst' -exec zstd -dq --rm {} +
    zfs_modules -exec cp -t "$to/extra" {} +
    strip --strip-debug "$to/extra"/*.ko
    for part in fs/nfs fs/nfsd fs/smb fs/ceph fs/bcachefs fs/ntfs3 fs/ocfs2 fs/gfs2 fs/dlm net/ceph net/sctp net/tipc \
        net/smc net/sunrpc net/rxrpc net/sched net/openvswitch net/wireless net/mac80211 net/bluetooth; do
        rm -rf "$to/kernel/$part"
    done
    # Modules of hardware that was left out leave gaps that nobody misses.
    depmod -b "$1" "$KERNEL" 2>depmod.log
}

make_root() { # the root
    mkdir -p "$1"
    usr_merged "$1"
    unpack runtime "$1"
    for place in share/doc share/man share/locale share/info share/lintian share/bash-completion share/zsh \
        share/initramfs-tools share/doc-base share/bug share/menu share/python3 lib/python3 lib/systemd \
        lib/x86_64-linux-gnu/gconv lib/x86_64-linux-gnu/perl lib/initcpio; do
        rm -rf "$1/usr/$place"
    done
    rm -rf "$1/etc/zfs/zpool.d" "$1/etc/init.d" "$1/etc/systemd" "$1/etc/cron.d" "$1/etc/cron.daily" "$1/var/lib/dpkg"
    # The one program that needs ICU, which is as large as the rest together.
    rm -f "$1/usr/sbin/xfs_scrub"
    # A script whose interpreter is left out would only confuse.
    grep -rIlE '^#! ?/usr/bin/(env )?(python3|perl)' "$1/usr/bin" "$1/usr/sbin" "$1/usr/lib" 2>/dev/null |
        while read -r script; do rm "$script"; done || true
    # Who starts udev in the guest looks for it where programs are. It is one program with udevadm, which goes by its name.
    ln -s udevadm "$1/usr/bin/systemd-udevd"
    # What a program of the host is linked with.
    cp -L /usr/lib/x86_64-linux-gnu/libbtrfsutil.so.*[0-9] "$1/usr/lib/x86_64-linux-gnu/"
    # What update-ca-certificates(8) would make.
    mkdir -p "$1/etc/ssl/certs"
    cat "$1"/usr/share/ca-certificates/mozilla/*.crt >"$1/etc/ssl/certs/ca-certificates.crt"
    libraries "$1"
    (cd "$1" && mkdir -p dev proc sys run tmp var/tmp var/lib var/log mnt root etc)
    chmod 1777 "$1/tmp" "$1/var/tmp"
    ln -sfn /proc/self/mounts "$1/etc/mtab"
    ln -sfn ../run "$1/var/run"
    # What no package of the list brings. The shell is none of them: busybox would run its own applets, which lack
    # options, whatever `PATH` says.
    for applet in $("$1/usr/bin/busybox" --list); do
        [ -e "$1/usr/bin/$applet" ] || [ -e "$1/usr/sbin/$applet" ] || ln -s busybox "$1/usr/bin/$applet"
    done
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n' >"$1/etc/passwd"
    printf 'root:x:0:\ndisk:x:6:\nnogroup:x:65534:\n' >"$1/etc/group"
    echo guest >"$1/etc/hostname"
    printf '127.0.0.1 localhost\n' >"$1/etc/hosts"
    copy_modules "$1"
    ldconfig -r "$1"
}

# Adds the shared libraries that the programs in a root load, from the builder, which has them all.
libraries() { # the root
    find "$1" -type f \( -perm -u+x -o -name '*.so*' \) -exec ldd {} + 2>/dev/null |
        sed -n 's/^.*=> \(\/[^ ]*\) (0x.*$/\1/p; s/^[[:space:]]*\(\/[^ ]*ld-linux[^ ]*\) (0x.*$/\1/p' | sort -u |
        while read -r library; do
            target=$1/usr/${library#/usr/}
            [ "${library#/usr/}" != "$library" ] || target=$1/usr$library
            [ -e "$target" ] && continue
            mkdir -p "${target%/*}"
            cp -L "$library" "$target"
        done
    # Loaded by name when a thread ends.
    cp -L /usr/lib/x86_64-linux-gnu/libgcc_s.so.1 "$1/usr/lib/x86_64-linux-gnu/" 2>/dev/null ||
        cp -L /lib/x86_64-linux-gnu/libgcc_s.so.1 "$1/usr/lib/x86_64-linux-gnu/"
}

# What runs before the root is mounted: busybox and the modules that mount it.
make_initrd() { # the root, the initrd
    mkdir -p initrd/bin initrd/modules
    cp "$1/usr/bin/busybox" initrd/bin/busybox
    : >initrd/modules/order
    for module in loop squashfs overlay; do
        modprobe -d "$1" -S "$KERNEL" --show-depends "$module" |
            while read -r how path _; do
                name=$(basename "$path")
                if [ "$how" != insmod ] || [ -e "initrd/modules/$name" ]; then continue; fi
                cp "$path" initrd/modules/
                echo "$name" >>initrd/modules/order
            done
    done
    mksquashfs "$1" initrd/root.squashfs -comp zstd -Xcompression-level 15 -b 256K -all-root -no-progress -quiet
    # initramfs buffer format (Documentation/driver-api/early-userspace/buffer-format.rst); "newc", not compressed.
    (cd initrd && find . -mindepth 1 | sort | cpio --quiet -o -H newc -R 0:0) >"$2"
}

rm -rf out root initrd && mkdir out
if [ -z "$(zfs_modules -name zfs.ko)" ]; then
    echo "step: compile ZFS $ZFS for Linux $KERNEL"
    (build_zfs) >zfs.log 2>&1 || {
        tail -n 40 zfs.log
        echo "failed: ZFS $ZFS does not fit Linux $KERNEL: $(grep -m 1 -i 'error:' zfs.log || echo "make says no more")"
        exit 1
    }
fi
echo "step: assemble the root file system"
make_root root
echo "step: pack it"
# Since 7.2 a kernel of Debian lies with its modules (linux-binary-*).
image=/boot/vmlinuz-$KERNEL
[ -e "$image" ] || image=/$modules/vmlinuz
extract_vmlinux "$image" out/vmlinux
make_initrd root out/initrd
