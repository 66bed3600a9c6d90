// Sends each frame on by the other of two interfaces, as it is: what the way between them costs without anybody who forwards.
#include "bpf.h"

struct {
	MAP_UINT(type, BPF_MAP_TYPE_DEVMAP);
	MAP_UINT(max_entries, 2);
	MAP_UINT(key_size, 4);
	MAP_UINT(value_size, 4);
} ports SEC(".maps");

/* A constant to the verifier: set before the program is loaded. */
const volatile __u32 FIRST_IFINDEX = 0;

SEC("xdp") int natrig_redirect(struct xdp_md *ctx)
{
	return bpf_redirect_map(&ports, ctx->ingress_ifindex == FIRST_IFINDEX, XDP_ABORTED);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
