#!/usr/bin/env bash
# Makes $OUT/layer.tar.zst, what Debian's nginx adds to the base layer, set up as nginx-unprivileged is: user 101, port
# 8080, pid and temporary files in /tmp, configuration in /etc/nginx, content in /usr/share/nginx/html. The program alone
# is $OUT/nginx, for tests.
#   nginx-layer.sh BASE_ROOTFS
set -euo pipefail
rootfs=$OUT/rootfs
cp -a "$1" "$rootfs"
# What the kernel changes from here on belongs to the layer; packages keep the old times of their files.
touch "$OUT/stamp"

cp /etc/resolv.conf "$rootfs/etc/resolv.conf"
export DEBIAN_FRONTEND=noninteractive
chroot "$rootfs" groupadd --gid 101 nginx
chroot "$rootfs" useradd --uid 101 --gid 101 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin nginx
# The package would start the service.
printf '#!/bin/sh\nexit 101\n' >"$rootfs/usr/sbin/policy-rc.d"
chmod 755 "$rootfs/usr/sbin/policy-rc.d"
chroot "$rootfs" apt-get update -qq
chroot "$rootfs" apt-get install -y -qq --no-install-recommends nginx-light
chroot "$rootfs" apt-get clean
rm -rf "$rootfs"/var/lib/apt/lists/* "$rootfs"/var/cache/apt/*.bin "$rootfs"/var/log/{apt,dpkg.log,alternatives.log} \
  "$rootfs"/usr/share/{doc,man,locale}/* "$rootfs/usr/sbin/policy-rc.d" "$rootfs"/etc/nginx/{sites-*,modules-*,snippets,conf.d}
: >"$rootfs/etc/resolv.conf"

rm -f "$rootfs"/var/log/nginx/*
mkdir -p "$rootfs/etc/nginx/conf.d" "$rootfs/var/cache/nginx"
chown 101:101 "$rootfs/var/cache/nginx" "$rootfs/var/log/nginx"
cat >"$rootfs/etc/nginx/nginx.conf" <<'CONF'
worker_processes auto;
error_log /var/log/nginx/error.log notice;
pid /tmp/nginx.pid;

events {
  worker_connections 1024;
}

http {
  client_body_temp_path /tmp/client_temp;
  proxy_temp_path /tmp/proxy_temp;
  fastcgi_temp_path /tmp/fastcgi_temp;
  uwsgi_temp_path /tmp/uwsgi_temp;
  scgi_temp_path /tmp/scgi_temp;
  include /etc/nginx/mime.types;
  default_type application/octet-stream;
  access_log /var/log/nginx/access.log;
  sendfile on;
  include /etc/nginx/conf.d/*.conf;
}
CONF
cat >"$rootfs/etc/nginx/conf.d/default.conf" <<'CONF'
server {
  listen 8080;
  root /usr/share/nginx/html;
}
CONF
chroot --userspec=101:101 "$rootfs" nginx -t
rm -rf "$rootfs"/tmp/* "$rootfs"/var/log/nginx/*
ln -s /dev/stdout "$rootfs/var/log/nginx/access.log"
ln -s /dev/stderr "$rootfs/var/log/nginx/error.log"

install -m 755 "$rootfs/usr/sbin/nginx" "$OUT/nginx"
mkdir "$OUT/files"
(cd "$rootfs" && find . -cnewer "$OUT/stamp" ! -path './tmp/*' ! -path './dev/*' ! -path './proc/*' -print0) >"$OUT/changed"
tar -C "$rootfs" --null --no-recursion -T "$OUT/changed" -c . | tar -C "$OUT/files" --same-owner -x
"$(dirname "$0")/layer.sh" "$OUT/files" "$OUT/layer.tar.zst"
rm -rf --one-file-system "$rootfs" "$OUT"/{files,stamp,changed}
