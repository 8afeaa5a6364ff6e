#!/bin/busybox sh
# The emulated Pi's way to its card, with this checkout in its place on it.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r driver; do
    insmod "/drivers/$driver"
done </drivers/order
until mount -t ext4 -o noatime /dev/mmcblk0 /card 2>/dev/null; do
    sleep 0.2
done
# The code lies in memory: QEMU's card is slow to write to.
site=/opt/gander/releases/lab/lib/python3.11/site-packages
for part in edge firmware; do
    mkdir -p "/card$site/$part"
    mount -t tmpfs "$part" "/card$site/$part"
    cp -a "/checkout$site/$part/." "/card$site/$part/"
done
cp -a /checkout/etc/. /card/etc/
cp -a /checkout/opt/lab /card/opt/
# root:gander
chown 0:990 /card/etc/gander /card/etc/gander/*
chmod 750 /card/etc/gander
chmod 640 /card/etc/gander/*.*
chmod -R go= /card/etc/gander/secrets
rm -rf /card/usr/lib/systemd/system/*.target.wants /card/usr/lib/systemd/system-generators
for folder in dev proc sys; do
    mount -o move "/$folder" "/card/$folder"
done
exec switch_root /card /sbin/init
