package dev.baton.transfer;

import java.util.List;

/// What a request says about its hand-off: the meaning of the `kv_transfer_params` of a body, in vLLM's NIXL form.
public sealed interface KvTransferParams {

    /// Asks a prefiller to keep the blocks for a decoder (`do_remote_decode`).
    record RemoteDecode() implements KvTransferParams {}

    /// Tells a decoder where the prompt's blocks lie (`do_remote_prefill`); a prefiller returns it, the router
    /// passes it on unread.
    ///
    /// @param engineId the prefiller's `remote_engine_id`; a restarted prefiller has another one
    /// @param requestId the request's id inside the prefiller (`remote_request_id`)
    /// @param blockIds the prompt's blocks on the prefiller, in order (`remote_block_ids`)
    /// @param host where the prefiller's side channel listens (`remote_host`)
    /// @param port its port (`remote_port`)
    /// @param tpSize tensor-parallel size of the prefiller (`tp_size`)
    /// @param numTokens tokens that the blocks hold; the last block may be partial (`remote_num_tokens`)
    /// @param promptDigest names those tokens (`remote_prompt_digest`); empty if the prefiller does not say
    record RemotePrefill(
            String engineId,
            String requestId,
            List<Integer> blockIds,
            String host,
            int port,
            int tpSize,
            int numTokens,
            String promptDigest)
            implements KvTransferParams {

        /// A hand-off that does not say which tokens its blocks hold.
        public RemotePrefill(
                String engineId,
                String requestId,
                List<Integer> blockIds,
                String host,
                int port,
                int tpSize,
                int numTokens) {
            this(engineId, requestId, blockIds, host, port, tpSize, numTokens, "");
        }

        /// The same with a digest of the tokens that the blocks hold.
        public RemotePrefill withPromptDigest(String digest) {
            return new RemotePrefill(engineId, requestId, blockIds, host, port, tpSize, numTokens, digest);
        }
    }
}
