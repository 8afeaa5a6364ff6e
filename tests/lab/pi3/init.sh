#!/bin/busybox sh
# The first process of the emulated Pi.
/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin PYTHONPATH=/gander:/opt/site HOME=/
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
insmod /bcm2835_wdt.ko
# A terminal that neither echoes nor edits, so that what is said arrives as it is.
stty -echo -icrnl -opost
python3.11 /gander/agent.py
echo "@@ {\"event\": \"agent ended\"}"
while true; do sleep 10; done
