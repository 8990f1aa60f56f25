package dev.baton.transfer.p2p;

import dev.baton.transfer.BlockShape;
import java.util.LinkedHashMap;
import java.util.Map;

/// The words of the control messages, which are MessagePack maps: vLLM's, and those that are Baton's own.
final class Control {
    static final String CMD = "cmd";

    /// vLLM's greeting, with a `unique_id` of NCCL. Between Batons on GPUs it follows [#NEW_TCP].
    static final String NEW = "NEW";

    /// Baton's: tells what must be equal. A vLLM logs a command that it does not know, and does nothing.
    static final String NEW_TCP = "NEW_TCP";

    /// A tensor is about to be sent: `tensor_id`, `shape`, `dtype` as vLLM has them.
    static final String PUT = "PUT";

    /// A tensor is wanted.
    static final String GET = "GET";

    /// Baton's: a decoder waits for a tensor, and is answered if it will not be pushed.
    static final String WAIT = "WAIT";

    /// Baton's: nobody wants the tensor any more.
    static final String RELEASE = "RELEASE";

    static final String TENSOR_ID = "tensor_id";
    static final String UNIQUE_ID = "unique_id";

    /// Between devices: the checksums of the blocks that follow, 8 bytes each.
    static final String SUMS = "sums";

    static final String RET = "ret";
    static final String REASON = "reason";

    /// Answers to [#PUT], as vLLM's.
    static final byte[] TAKEN = {'0'};

    static final byte[] REFUSED = {'1'};

    /// Longest control message that is read.
    static final int MAX_BYTES = 256 << 10;

    /// Of the connectors that speak this.
    static final int VERSION = 1;

    /// A block is followed by its checksum.
    static final int SUM_BYTES = Long.BYTES;

    private Control() {}

    /// What vLLM makes of a request's id and the name of a layer. All layers of a block lie side by side here, so
    /// that one tensor has them all: `(blocks, layers, 2, kvHeads, blockTokens, headDim)`.
    static String tensorId(String externalId) {
        return externalId + "#baton" + BlockShape.LAYOUT;
    }

    /// A message.
    static Map<String, Object> message(String cmd) {
        Map<String, Object> message = new LinkedHashMap<>();
        message.put(CMD, cmd);
        return message;
    }
}
