# Creates the cluster of config.yaml, in a guest that boots; see kind.go. It is told
# nothing of how slow the guest is: the guest's clock counts instructions.
set -eu -o pipefail
cd /root/kind
name=$(cat name)
node=$name-control-plane
say() { echo "kind $(cut -d ' ' -f 1 /proc/uptime) s: $*"; }

ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
sysctl -qw net.ipv4.ip_forward=1 fs.inotify.max_user_instances=8192 fs.inotify.max_user_watches=524288 \
	vm.overcommit_memory=1

say "creating $name"
export HOME=/root
# through a pipe: on a terminal kind draws a spinner, one byte of a serial line at a time
if ! kind create cluster --config config.yaml --image oomlab-node:1 --kubeconfig kubeconfig --wait 10m --retain \
	2>&1 | cat; then
	docker logs "$node" 2>&1 | tail -n 30
	docker exec "$node" journalctl --no-pager -n 60 -u kubelet -u containerd
	exit 1
fi
say "loading oomlab's images"
kind load image-archive images.tar --name "$name"
# a node may be exhausted where it is limited: kind itself has no field for it
memory=$(cat memory)
[ -z "$memory" ] || docker update --memory "$memory" --memory-swap "$memory" "$node"
address=$(docker inspect -f '{{.NetworkSettings.Networks.kind.IPAddress}}' "$node")
iptables -t nat -A PREROUTING -i eth0 -p tcp --dport 6443 -j DNAT --to "$address:6443"
mkdir -p /run/oomlab-hello
cp kubeconfig /run/oomlab-hello/kubeconfig
rm images.tar
sync
echo 3 > /proc/sys/vm/drop_caches
say "ready"
