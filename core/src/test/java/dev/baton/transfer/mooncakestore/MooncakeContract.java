package dev.baton.transfer.mooncakestore;

import static org.awaitility.Awaitility.await;

import dev.baton.transfer.EnginePair;
import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.StoreContract;
import java.io.IOException;
import java.time.Duration;
import java.util.Map;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;

/// The contract over a real Mooncake cluster; skipped, with the reason, where Mooncake is not installed.
public abstract class MooncakeContract extends StoreContract {
    private static final long POOL_BYTES = 256L << 20;

    private static MooncakeCluster cluster;
    private static int tests;

    @BeforeAll
    static void startCluster() throws IOException {
        cluster = new MooncakeCluster(POOL_BYTES);
    }

    @AfterAll
    static void stopCluster() {
        if (cluster != null) {
            cluster.close();
        }
    }

    /// So that no test finds what another one has saved.
    @BeforeEach
    void newName() {
        tests++;
    }

    protected abstract String connector();

    /// @param name makes keys that no other test has
    protected abstract Map<String, Object> settings(MooncakeCluster cluster, Side side, String name);

    @Override
    protected KvTransferConfig config(Side side, KvLoadFailurePolicy policy) {
        return new KvTransferConfig(
                connector(),
                side == Side.PREFILLER ? KvRole.KV_PRODUCER : KvRole.KV_CONSUMER,
                side.name(),
                "127.0.0.1",
                0,
                policy,
                settings(cluster, side, "test-" + tests));
    }

    @Override
    protected void awaitSaved(EnginePair pair, int savedTokens) {
        long bytes = savedTokens / BLOCK_TOKENS * pair.blockBytes();
        await().atMost(Duration.ofSeconds(20))
                .pollInterval(Duration.ofMillis(2))
                .until(() -> pair.prefillerConnector().stats().bytesSent() == bytes);
    }

    /// The whole cluster.
    @Override
    protected void sourceDies(EnginePair pair) throws IOException {
        cluster.close();
        startCluster(); // elsewhere, for the next pair
    }
}
