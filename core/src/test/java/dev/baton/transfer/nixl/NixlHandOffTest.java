package dev.baton.transfer.nixl;

import dev.baton.transfer.HandOffContract;
import dev.baton.transfer.KvRole;
import java.util.Map;
import org.junit.jupiter.api.BeforeAll;

/// Over the real NIXL, where it is.
class NixlHandOffTest extends HandOffContract<NixlInstance> {
    @BeforeAll
    static void nixlIsThere() {
        NixlHome _ = NixlInstance.home();
    }

    @Override
    protected int[] blockSizes() {
        return new int[] {NixlInstance.BLOCK_TOKENS};
    }

    @Override
    protected NixlInstance instance(KvRole role, String engineId, int blockTokens, int numBlocks) {
        // without a mirror, which has room for as many blocks as the pool and not for one in several leases
        return new NixlInstance(role, engineId, numBlocks, Map.of("vllm_peers", false));
    }
}
