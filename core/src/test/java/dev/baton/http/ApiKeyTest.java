package dev.baton.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class ApiKeyTest {
    /// `printf %s sk-test | openssl dgst -sha256`
    private static final String HASH = "f3abf2a6cc4f00987743db5f544ba345b4899ae31f326d8ee9c4816de153c9e0";

    /// The same of `x7sk-test`.
    private static final String SALTED = "15e6f41e515f70ee439ef2104ed4b58d533c9e4e66568a38deeb6a513b848c82";

    @Test
    void hashedKeyIsKnownByWhatOpensslSays() {
        ApiKeys keys = ApiKeys.none().and(List.of(ApiKey.hashed("a", "sha256:" + HASH), ApiKey.of("b", "sk-b")));
        assertThat(keys.identify(Optional.of("Bearer sk-test")).map(ApiKey::name))
                .hasValue("a");
        assertThat(keys.identify(Optional.of("Bearer sk-b")).map(ApiKey::name)).hasValue("b");
        assertThat(keys.identify(Optional.of("Bearer sk-c"))).isEmpty();
    }

    @Test
    void saltComesBeforeTheKey() {
        ApiKey key = ApiKey.hashed("a", "sha256:x7:" + SALTED);
        ApiKeys keys = ApiKeys.none().and(List.of(key));
        assertThat(keys.identify(Optional.of("Bearer sk-test"))).contains(key);
        assertThat(keys.identify(Optional.of("Bearer x7sk-test"))).isEmpty();
    }

    @Test
    void eachOfSeveralSaltsIsTried() {
        ApiKeys keys = ApiKeys.none()
                .and(List.of(
                        ApiKey.of("plain", "sk-plain"),
                        ApiKey.hashed("salted", "sha256:x7:" + SALTED),
                        ApiKey.hashed("salted-too", "sha256:x7:" + HASH),
                        ApiKey.hashed("other-salt", "sha256:sk-:" + HASH),
                        ApiKey.of("last", "sk-last")));
        assertThat(keys.identify(Optional.of("Bearer sk-plain")).map(ApiKey::name))
                .hasValue("plain");
        assertThat(keys.identify(Optional.of("Bearer sk-test")).map(ApiKey::name))
                .hasValue("salted");
        assertThat(keys.identify(Optional.of("Bearer test")).map(ApiKey::name)).hasValue("other-salt");
        assertThat(keys.identify(Optional.of("Bearer sk-last")).map(ApiKey::name))
                .hasValue("last");
        assertThat(keys.identify(Optional.of("Bearer last"))).isEmpty();
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "sk-plain", "sha256:12", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:a b:"})
    void otherHashesAreRefused(String hash) {
        assertThatThrownBy(() -> ApiKey.hashed("team", hash))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("team");
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "a b", "a\"b", "\n"})
    void namesFitIntoLogsAndMetrics(String name) {
        assertThatThrownBy(() -> ApiKey.of(name, "sk")).isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void twoKeysOfOneNameAreRefused() {
        assertThatThrownBy(() -> ApiKeys.of(List.of("sk-1")).and(List.of(ApiKey.of("key-1", "sk-2"))))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("key-1");
    }

    @Test
    void bucketHoldsAMinuteAndIsRefilledEvenly() {
        ApiKey key = ApiKey.of("a", "sk").withLimits(6, 0, Set.of());
        long now = System.nanoTime();
        for (int i = 0; i < 6; i++) {
            assertThat(key.admit(now).isAdmitted()).isTrue();
            key.release();
        }
        ApiKey.Admission refused = key.admit(now);
        assertThat(refused.isAdmitted()).isFalse();
        assertThat(refused.retryAfter()).isBetween(Duration.ofMillis(9_900), Duration.ofMillis(10_001));
        assertThat(key.admit(now + TimeUnit.SECONDS.toNanos(9)).isAdmitted()).isFalse();
        assertThat(key.admit(now + TimeUnit.MILLISECONDS.toNanos(10_001)).isAdmitted())
                .isTrue();
        assertThat(key.admit(now + TimeUnit.MILLISECONDS.toNanos(10_002)).isAdmitted())
                .isFalse();
        long later = now + TimeUnit.HOURS.toNanos(5);
        for (int i = 0; i < 6; i++) {
            assertThat(key.admit(later).isAdmitted()).isTrue();
        }
        assertThat(key.admit(later).isAdmitted()).isFalse();
    }

    @Test
    void tokensAreTakenByAnEstimateAndCorrected() {
        ApiKey key = ApiKey.of("a", "sk").withTokensPerMinute(600);
        long now = System.nanoTime();
        assertThat(key.takeTokens(400, now)).isEmpty();
        assertThat(key.takeTokens(300, now))
                .as("200 are left, and 10 come in a second")
                .contains(Duration.ofSeconds(10));
        key.correctTokens(400, 100);
        assertThat(key.takeTokens(300, now)).isEmpty();
        key.correctTokens(300, 1000);
        assertThat(key.takeTokens(1, now)).as("500 are owed").contains(Duration.ofMillis(50_100));
        assertThat(key.takeTokens(1, now + TimeUnit.MILLISECONDS.toNanos(50_101)))
                .isEmpty();
        assertThat(key.overRate()).isEqualTo(2);
    }

    /// It would never be admitted otherwise.
    @Test
    void requestOfMoreThanAMinutesWorthWaitsForAFullMinute() {
        ApiKey key = ApiKey.of("a", "sk").withTokensPerMinute(60);
        long now = System.nanoTime();
        assertThat(key.takeTokens(100, now)).isEmpty();
        assertThat(key.takeTokens(100, now)).contains(Duration.ofSeconds(100));
        assertThat(ApiKey.of("b", "sk").takeTokens(Integer.MAX_VALUE, now))
                .as("no limit")
                .isEmpty();
    }

    @ParameterizedTest
    @CsvSource({"0, 0s", "120, 120ms", "8640, 8.64s", "1000, 1s", "360000, 6m0s", "61500, 1m1.5s", "20000, 20s"})
    void timesAreWrittenAsOpenaiDoes(long millis, String text) {
        assertThat(ApiKey.text(Duration.ofMillis(millis))).isEqualTo(text);
    }
}
