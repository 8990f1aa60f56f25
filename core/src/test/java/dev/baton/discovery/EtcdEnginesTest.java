package dev.baton.discovery;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Engines in a real etcd that comes and goes.
@Timeout(120)
class EtcdEnginesTest {
    private static final Duration GRACE = Duration.ofSeconds(4);
    private static final Duration LEASE = Duration.ofSeconds(4);
    private static final EngineInfo ENGINE = EngineInfo.of(EngineAddress.parse("10.0.0.1:8100"), EngineRole.PREFILLER)
            .withWeight(2);
    private static final String A = "{\"address\": \"a:1\", \"role\": \"prefiller\"}";
    private static final String B = "{\"address\": \"b:1\", \"role\": \"decoder\"}";

    @TempDir
    Path folder;

    private final FleetRecorder fleet = new FleetRecorder();
    private Etcd etcd;
    private Path data;
    private EtcdEngines source;

    @BeforeEach
    void start() throws Exception {
        etcd = new Etcd(folder);
        data = Files.createDirectory(folder.resolve("data"));
        etcd.start(data);
        source = new EtcdEngines(etcd.target(), GRACE);
    }

    @AfterEach
    void close() {
        if (source != null) {
            source.close();
        }
        if (etcd != null) {
            etcd.close();
        }
    }

    private Registrar register(EngineInfo engine, AtomicBoolean well) {
        return Registrar.start(List.of(etcd.target()), new Registrar.Config(engine, LEASE, ""), well::get);
    }

    @Test
    void keysThatAreThereAndThoseThatComeAndGoAreEngines() throws Exception {
        etcd.put("a", A);
        source.start(fleet);
        fleet.awaitFleet("a:1");
        etcd.put("b", B);
        fleet.awaitFleet("a:1", "b:1");
        etcd.put("b", B.replace("decoder", "both"));
        fleet.awaitThat(recorder -> recorder.engine("b:1").role() == EngineRole.BOTH);
        etcd.delete("a");
        fleet.awaitFleet("b:1");
        etcd.put("b", A); // the key names another engine
        fleet.awaitFleet("a:1");
        etcd.put("a", A); // two keys name one engine
        etcd.delete("b");
        etcd.put("c", B);
        fleet.awaitFleet("a:1", "b:1");
        assertThat(fleet.events()).containsExactly("+a:1", "+b:1", "+b:1", "-a:1", "-b:1", "+a:1", "+a:1", "+b:1");
    }

    @ParameterizedTest
    @ValueSource(
            strings = {"", "nothing", "[]", "{\"address\": \"a:1\"}", "{\"address\": \"a\", \"role\": \"decoder\"}"})
    void wrongValueChangesNothing(String wrong) throws Exception {
        etcd.put("wrong", wrong);
        etcd.put("a", A);
        source.start(fleet);
        fleet.awaitFleet("a:1");
        etcd.put("a", wrong);
        etcd.put("b", B);
        fleet.awaitFleet("a:1", "b:1");
        assertThat(fleet.events()).containsExactly("+a:1", "+b:1");
    }

    @Test
    void engineStaysWhileItKeepsItsLeaseAndGoesWithIt() throws Exception {
        source.start(fleet);
        AtomicBoolean well = new AtomicBoolean(true);
        try (Registrar registrar = register(ENGINE, well)) {
            fleet.awaitFleet("10.0.0.1:8100");
            assertThat(fleet.engine("10.0.0.1:8100")).isEqualTo(ENGINE);
            Thread.sleep(LEASE.multipliedBy(2));
            assertThat(fleet.events()).hasSize(1);
            well.set(false); // as if its process had gone, or its engine hung
            fleet.awaitFleet();
            well.set(true);
            fleet.awaitFleet("10.0.0.1:8100");
            assertThat(registrar).isNotNull();
        }
        fleet.awaitFleet();
        assertThat(fleet.events()).hasSize(4);
    }

    @Test
    void deregistrationIsSeenAtOnce() {
        source.start(fleet);
        Duration lease = Duration.ofMinutes(1); // at whose end it would be seen too
        Registrar registrar =
                Registrar.start(List.of(etcd.target()), new Registrar.Config(ENGINE, lease, ""), () -> true);
        fleet.awaitFleet("10.0.0.1:8100");
        long start = System.nanoTime();
        registrar.close();
        fleet.awaitFleet();
        assertThat(Duration.ofNanos(System.nanoTime() - start)).isLessThan(lease.dividedBy(2));
    }

    @Test
    void etcdThatIsAwayChangesNothingAndWhatHappenedThenIsSeenAfterwards() throws Exception {
        etcd.put("a", A);
        etcd.put("b", B);
        source.start(fleet);
        fleet.awaitFleet("a:1", "b:1");
        try (Registrar registrar = register(ENGINE, new AtomicBoolean(true))) {
            fleet.awaitFleet("10.0.0.1:8100", "a:1", "b:1");
            etcd.kill();
            Thread.sleep(LEASE.multipliedBy(2));
            assertThat(fleet.events()).as("while etcd is away").hasSize(3);
            etcd.start(data);
            etcd.delete("a");
            fleet.awaitFleet("10.0.0.1:8100", "b:1");
            Thread.sleep(LEASE.multipliedBy(2));
            assertThat(fleet.events()).containsExactly("+a:1", "+b:1", "+10.0.0.1:8100", "-a:1");
            assertThat(registrar).isNotNull();
        }
    }

    @Test
    void sourceMayStartBeforeEtcd() throws Exception {
        etcd.kill();
        source.start(fleet);
        try (Registrar registrar = register(ENGINE, new AtomicBoolean(true))) {
            Thread.sleep(1000);
            etcd.start(data);
            fleet.awaitFleet("10.0.0.1:8100");
            assertThat(registrar).isNotNull();
        }
    }

    /// What happened while the source was away has been forgotten: it lists anew.
    @Test
    void compactedHistoryIsNoGap() throws Exception {
        etcd.put("a", A);
        etcd.put("b", B);
        source.start(fleet);
        fleet.awaitFleet("a:1", "b:1");
        etcd.kill();
        source.close(); // nothing of it must follow between the next lines
        source = new EtcdEngines(etcd.target(), GRACE);
        etcd.start(data);
        etcd.delete("a");
        etcd.put("c", "{\"address\": \"c:1\", \"role\": \"both\"}");
        String state = etcd.post("/v3/kv/range", "{'key':'AA=='}");
        String revision = state.replaceAll(".*\"revision\":\"(\\d+)\".*", "$1").strip();
        etcd.post("/v3/kv/compaction", "{'revision':'" + revision + "','physical':true}");
        EtcdTarget target = EtcdTarget.parse(etcd.target());
        try (EtcdClient client = new EtcdClient(target);
                EtcdClient.Watch watch = client.watch(target.prefix(), 1)) {
            EtcdClient.Changes changes = watch.next(Duration.ofSeconds(10)).orElseThrow();
            while (!changes.compacted()) {
                changes = watch.next(Duration.ofSeconds(10)).orElseThrow();
            }
        }
        FleetRecorder anew = new FleetRecorder();
        source.start(anew);
        anew.awaitFleet("b:1", "c:1");
    }

    /// Its disk is lost: it comes back empty. Engines that register again stay throughout, others have their grace.
    @Test
    void etcdThatHasLostItsStateDoesNotTakeTheEnginesAlong() throws Exception {
        source.start(fleet);
        etcd.put("a", A);
        try (Registrar registrar = register(ENGINE, new AtomicBoolean(true))) {
            fleet.awaitFleet("10.0.0.1:8100", "a:1");
            for (int i = 0; i < 20; i++) {
                etcd.put("filler", B);
            }
            etcd.kill();
            long start = System.nanoTime();
            etcd.start(Files.createDirectory(folder.resolve("empty")));
            fleet.awaitFleet("10.0.0.1:8100");
            assertThat(Duration.ofNanos(System.nanoTime() - start))
                    .as("time for a:1 to register again")
                    .isGreaterThan(GRACE);
            assertThat(fleet.events()).doesNotContain("-10.0.0.1:8100").contains("-a:1", "-b:1");
            etcd.put("b", B);
            fleet.awaitFleet("10.0.0.1:8100", "b:1");
            assertThat(registrar).isNotNull();
        }
        fleet.awaitFleet("b:1");
    }

    @Test
    void deadMemberOfTheClusterIsPassedOver() throws Exception {
        String both = etcd.target().replace("etcd://", "etcd://127.0.0.1:1,");
        try (Registrar registrar =
                Registrar.start(List.of(both), new Registrar.Config(ENGINE, LEASE, ""), () -> true)) {
            EtcdEngines other = new EtcdEngines(both, GRACE);
            other.start(fleet);
            fleet.awaitFleet("10.0.0.1:8100");
            other.close();
            assertThat(registrar).isNotNull();
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"etcd://", "etcd:///x", "etcd://a", "etcd://a:1,/x", "http://a:1", "etcd://u@a:1"})
    void targetThatIsNoneIsRefusedInOneSentence(String text) {
        assertThatExceptionOfType(DiscoveryException.class)
                .isThrownBy(() -> new EtcdEngines(text))
                .withMessageContaining(text);
    }
}
