package dev.baton.transfer.lmcache;

import static org.awaitility.Awaitility.await;

import dev.baton.transfer.EnginePair;
import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.StoreContract;
import java.time.Duration;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;

/// Over a cache server of Baton's own.
class LmCacheContractTest extends StoreContract {
    private LmCacheServer server;

    @BeforeEach
    void startServer() {
        server = LmCacheServer.start("127.0.0.1", 0, 256 << 20, 16);
    }

    @AfterEach
    void stopServer() {
        server.close();
    }

    @Override
    protected KvTransferConfig config(Side side, KvLoadFailurePolicy policy) {
        return new KvTransferConfig(
                LmCacheConnector.NAME,
                side == Side.PREFILLER ? KvRole.KV_PRODUCER : KvRole.KV_CONSUMER,
                side.name(),
                "127.0.0.1",
                0,
                policy,
                Map.of(
                        "lmcache.remote_url",
                        "lm://127.0.0.1:" + server.port(),
                        "lmcache.local_cpu",
                        false,
                        "lmcache.chunk_size",
                        BLOCK_TOKENS,
                        "lmcache.pre_caching_hash_algorithm",
                        "sha256_cbor"));
    }

    @Override
    protected void awaitSaved(EnginePair pair, int savedTokens) {
        await().atMost(Duration.ofSeconds(20))
                .pollInterval(Duration.ofMillis(2))
                .until(() -> server.numChunks() == savedTokens / BLOCK_TOKENS);
    }

    @Override
    protected void sourceDies(EnginePair pair) {
        server.close();
        startServer(); // elsewhere, for the next pair
    }
}
