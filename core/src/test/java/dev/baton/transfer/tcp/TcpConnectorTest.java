package dev.baton.transfer.tcp;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.transfer.KvEvent.KvArrived;
import dev.baton.transfer.KvEvent.LeaseReleased;
import dev.baton.transfer.RemotePrefill;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.SocketTimeoutException;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Hand-offs between two instances over loopback, when nothing goes wrong.
@ExtendWith(KvThreads.class)
class TcpConnectorTest {

    @ParameterizedTest
    @ValueSource(ints = {1, 16, 31, 33, 48})
    void blocksOfAPromptOfAnotherLengthAreNotLoadedAndTheirLeaseIsReleased(int promptTokens) {
        try (TestInstance prefiller = TestInstance.prefiller(16, 8, Map.of());
                TestInstance decoder = TestInstance.decoder(16, 8, Map.of())) {
            RemotePrefill params = prefiller.hold("r", new int[] {1, 2}, 32);
            assertThat(decoder.matched("d", params, promptTokens, 0)).isZero();
            decoder.allocated("d", params, new int[] {3, 4, 5}, 0, 0);
            decoder.startLoads();
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
            assertThat(decoder.worker().numLoads()).isZero();
        }
    }

    @Test
    void prefillerThatIsNotAmongTheAllowedHostsIsNeverDialled() throws IOException {
        try (ServerSocket elsewhere = new ServerSocket(0, 4, InetAddress.getLoopbackAddress());
                TestInstance decoder =
                        TestInstance.decoder(16, 8, Map.of("kv_allowed_hosts", List.of("10.0.0.1", "prefiller")))) {
            RemotePrefill params =
                    new RemotePrefill("p", "r", List.of(0), "127.0.0.1", elsewhere.getLocalPort(), 1, 16);
            assertThat(decoder.matched("d", params, 16, 0)).isZero();
            decoder.allocated("d", params, new int[] {3}, 0, 0);
            decoder.startLoads();
            decoder.finished("d", params, new int[] {3}, 16, true);
            decoder.worker().release(params.toParams());
            elsewhere.setSoTimeout(300);
            assertThatThrownBy(elsewhere::accept).isInstanceOf(SocketTimeoutException.class);
        }
    }

    @Test
    void prefillerThatIsAmongTheAllowedHostsIsLoadedFrom() {
        try (TestInstance prefiller = TestInstance.prefiller(16, 8, Map.of()).fill(1);
                TestInstance decoder =
                        TestInstance.decoder(16, 8, Map.of("kv_allowed_hosts", List.of("10.0.0.1", "127.0.0.1")))) {
            RemotePrefill params = prefiller.hold("r", new int[] {1, 3}, 20);
            assertThat(params.blockIds()).containsExactly(1, 3);
            assertThat(params.numTokens()).isEqualTo(20);
            decoder.load("d", params, new int[] {0, 2}, 0);
            assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
            assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r"));
            assertThat(decoder.connector.stats().bytesTransferred())
                    .isEqualTo(prefiller.connector.stats().bytesSent())
                    .isEqualTo(2 * prefiller.pool.blockBytes());
        }
    }

    @Test
    void loadWorksAfterTheConnectionWasIdleAndClosedByThePrefiller() throws InterruptedException {
        try (TestInstance prefiller = TestInstance.prefiller(16, 8, Map.of("kv_idle_timeout", 0.2))
                        .fill(1);
                TestInstance decoder = TestInstance.decoder(16, 8, Map.of())) {
            for (int round = 0; round < 3; round++) {
                RemotePrefill params = prefiller.hold("r" + round, new int[] {round}, 16);
                decoder.load("d" + round, params, new int[] {round}, 0);
                assertThat(decoder.nextEvent()).isInstanceOf(KvArrived.class);
                assertThat(decoder.block(round)).isEqualTo(prefiller.block(round));
                assertThat(prefiller.nextEvent()).isEqualTo(new LeaseReleased("r" + round));
                Thread.sleep(round == 0 ? 500 : 1_200); // beyond the prefiller's idle timeout, and beyond trust
            }
        }
    }

    @Test
    void describeSaysRoleAndAddress() {
        try (TestInstance prefiller = TestInstance.prefiller(16, 8, Map.of());
                TestInstance decoder = TestInstance.decoder(16, 8, Map.of())) {
            assertThat(prefiller.connector.describe()).matches("TcpConnector kv_producer on 127\\.0\\.0\\.1:\\d+");
            assertThat(decoder.connector.describe()).isEqualTo("TcpConnector kv_consumer, dials only");
        }
    }
}
