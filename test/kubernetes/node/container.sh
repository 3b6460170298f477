#!/bin/sh
# Runs one container of a pod: container.sh ROOT REPO UID READONLY COMMAND…   Volumes lie in ROOT.volumes/PATH already.
# It sees what the image has: this machine's programs, the repository at /opt/outrider and the links of deploy/Containerfile.
set -e
root=$1 repo=$2 uid=$3 readonly=$4
shift 4
mount -t tmpfs tmpfs "$root"
for name in bin sbin lib lib64 usr; do
  if [ -L "/$name" ]; then cp -P "/$name" "$root/$name"
  elif [ -d "/$name" ]; then mkdir "$root/$name" && mount --rbind "/$name" "$root/$name"; fi
done
mkdir -p "$root/opt/outrider" "$root/proc" "$root/dev" "$root/tmp" "$root/etc" "$root/image/bin"
mount --bind "$repo" "$root/opt/outrider"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
cp /etc/passwd "$root/etc/passwd"
printf 'search svc.cluster.local\nnameserver %s\n' "$POD_DNS" > "$root/etc/resolv.conf"
printf '127.0.0.1 localhost\n::1 localhost\n' > "$root/etc/hosts"
for node in "$repo"/node_modules/node-*/bin/node; do ln -s "/opt/outrider${node#"$repo"}" "$root/image/bin/node"; done
ln -s /opt/outrider/bin/outriderd "$root/daprd"
for program in outrider outriderd outrider-control outrider-injector outrider-operator outrider-sentry; do ln -s "/opt/outrider/bin/$program" "$root/$program"; done
(cd "$root.volumes" && find . -mindepth 1 -name .volume | while read -r mark; do
  path=${mark#./} path=${path%/.volume}
  mkdir -p "$root/$path"
  mount --bind "$root.volumes/$path" "$root/$path"
done)
if [ "$readonly" = true ]; then mount -o remount,ro "$root"; fi
unset POD_DNS
exec /usr/sbin/chroot --userspec="$uid:$uid" "$root" "$@"
