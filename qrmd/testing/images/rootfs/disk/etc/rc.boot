#!/bin/sh
# Boots the guest: seed first, then network; ssh answers only once the seed was applied.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin

say() {
    read -r uptime _ </proc/uptime
    echo "qrm-micro[$uptime] $*" >/dev/console
}

mount_all() {
    mkdir -p /dev/pts
    mount -t devpts devpts /dev/pts
    mount -t tmpfs -o mode=755 tmpfs /run
    mount -t tmpfs -o mode=1777 tmpfs /tmp
    mount -o remount,rw /
}

# acpid runs /etc/acpi/PWRF/00000080 when the power button is pressed.
watch_power_button() { acpid -l /run/acpid.log -p /run/acpid.pid; }

name_host() {
    hostname -F /etc/hostname
    printf '127.0.0.1 localhost %s\n' "$(hostname)" >/etc/hosts
}

# One DHCP client for each NIC, kept running: it renews, and releases when it is told to end.
start_network() {
    ip link set lo up
    for path in /sys/class/net/eth*; do
        nic=${path##*/}
        [ -e "$path" ] || continue
        ip link set "$nic" up
        udhcpc -b -R -t 10 -T 1 -A 2 -i "$nic" -p "/run/udhcpc.$nic.pid" -x "hostname:$(hostname)" \
            -s /usr/share/udhcpc/default.script >/dev/null 2>&1 &
    done
}

start_ssh() {
    options=$(cat /etc/dropbear/options 2>/dev/null)
    # shellcheck disable=SC2086
    dropbear -r /etc/dropbear/ed25519 $options
}

# The disk may have been made larger than the image.
grow_root() {
    root=$(sed -n 's/^\([^ ]*\) \/ ext4 .*/\1/p' /proc/mounts)
    resize2fs "$root" >/run/resize2fs.log 2>&1 || say "could not grow $root: $(tail -n 1 /run/resize2fs.log)"
}

mount_all
modprobe -a virtio_net isofs button evdev
watch_power_button
if /lib/qrm/seed; then
    name_host
    start_network
    start_ssh
    say "$(hostname) is ready"
else
    name_host
    start_network
    say "no ssh: the seed was not applied"
fi
grow_root
