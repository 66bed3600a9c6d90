// Hands each frame to the AF_XDP socket of its queue, if there is one.
#include "bpf.h"

struct {
	MAP_UINT(type, BPF_MAP_TYPE_XSKMAP);
	MAP_UINT(max_entries, 64);
	MAP_UINT(key_size, 4);
	MAP_UINT(value_size, 4);
} sockets SEC(".maps");

SEC("xdp") int natrig_xsk(struct xdp_md *ctx)
{
	return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
