#!/bin/sh
# Runs commands where a node, 10.77.0.2, is in the network of this machine, 10.77.0.1, and can fall asleep and be woken.
# sleeping_node.sh PYTHON FOLDER SCRIPT: the shell script may call
#   falls_asleep   from now on nothing comes back from the node
#   is_woken_by_a_packet   it wakes, and serves, when a packet comes that a network card wakes for; FOLDER/packet is that
#   node_packets   how many packets have reached it
set -eu
python=$1 folder=$2 script=$3
node=gmn$$
mkdir -p /run/netns
mount -t tmpfs tmpfs /run/netns
ip netns add "$node"
ip link set lo up
ip link add hmon type veth peer name hnode netns "$node"
ip addr add 10.77.0.1/24 dev hmon
ip link set hmon up
ip netns exec "$node" ip link set hnode up
ip netns exec "$node" ip addr add 10.77.0.2/24 dev hnode
serving=''
waiting=''

serve() {
  ip netns exec "$node" "$python" -m gpu_mesh.standin --host 10.77.0.2 --port 11434 >&2 &
  serving=$!
  until curl -s -o /dev/null http://10.77.0.2:11434/; do sleep 0.1; done
}

falls_asleep() {
  kill "$serving"
  serving=''
  ip netns exec "$node" ip addr flush dev hnode
  ip neigh flush dev hmon # as after a while
}

is_woken_by_a_packet() {
  (
    ip netns exec "$node" "$python" "$(dirname "$0")/await_wake.py" hnode >"$folder/packet"
    ip netns exec "$node" ip addr add 10.77.0.2/24 dev hnode
    exec ip netns exec "$node" "$python" -m gpu_mesh.standin --host 10.77.0.2 --port 11434 >&2
  ) &
  waiting=$!
}

node_packets() { ip netns exec "$node" cat /sys/class/net/hnode/statistics/rx_packets; }

# Whatever still runs in the node's network ends with it.
end() {
  ip netns pids "$node" | xargs -r kill
  wait "$waiting" || :
}
trap end EXIT
serve
# shellcheck source=/dev/null # the test's
. "$script"
