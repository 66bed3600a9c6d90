// Sends each frame on by the other of two interfaces, as it is: what the way between them costs without anybody who forwards. A sample of
// those from the first to the second is stamped.
#include "stamp.h"

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
	__u8 *data = (__u8 *)(long)ctx->data, *end = (__u8 *)(long)ctx->data_end;
	if (ctx->ingress_ifindex != FIRST_IFINDEX)
		return bpf_redirect_map(&ports, 0, XDP_ABORTED);
	int stamped = stamp(SIDE_IN, data, end);
	int verdict = bpf_redirect_map(&ports, 1, XDP_ABORTED);
	if (stamped)
		stamp(SIDE_OUT, data, end);
	return verdict;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
