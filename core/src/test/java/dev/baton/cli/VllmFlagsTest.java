package dev.baton.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class VllmFlagsTest {
    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            --enforce-eager MODEL                       | 1
            --no-enforce-eager MODEL                    | 1
            --swap-space 4 MODEL                        | 2
            --swap-space=4 MODEL                        | 1
            --cudagraph-capture-sizes 1 2 4 --port 1    | 4
            --cudagraph-capture-sizes                   | 1
            --pipeline-parallel-size 1                  | 2
            -pp 1                                       | 2
            -pp=1                                       | 1
            -O3 MODEL                                   | 1
            -O 3 MODEL                                  | 2
            --enable-chunked-prefill MODEL              | 1
            --no-enable-lora                            | 1
            --hf-token secret                           | 2
            --disable-log-requests --port 1             | 1
            --no-enable-log-requests                    | 1
            """)
    void whatChangesNothingIsLeftOutWithItsValues(String line, int numWords) {
        assertThat(VllmFlags.judge(List.of(line.split(" ")), 0))
                .hasValueSatisfying(verdict -> assertThat(verdict)
                        .isInstanceOfSatisfying(VllmFlags.Verdict.LeftOut.class, leftOut -> {
                            assertThat(leftOut.numWords()).isEqualTo(numWords);
                            assertThat(leftOut.warning())
                                    .startsWith(line.split("[ =3]", 2)[0])
                                    .contains(" has no effect: ")
                                    .doesNotContain("secret");
                        }));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "--pipeline-parallel-size 2",
                "-pp=4",
                "-pcp 2",
                "--data-parallel-size 0",
                "--no-enable-chunked-prefill",
                "--enable-lora",
                "--lora-modules a=b",
                "--speculative-config {}",
                "--tokenizer x",
                "--revision main",
                "--reasoning-parser deepseek_r1",
                "--runner pooling",
                "--uds /tmp/x",
                "--pipeline-parallel-size",
            })
    void whatWouldChangeWhatIsServedIsRefused(String line) {
        assertThat(VllmFlags.judge(List.of(line.split(" ")), 0))
                .hasValueSatisfying(verdict -> assertThat(verdict)
                        .isInstanceOfSatisfying(
                                VllmFlags.Verdict.Refused.class,
                                refused -> assertThat(refused.reason())
                                        .startsWith(line.split("[ =]", 2)[0])
                                        .contains(" is refused: ")));
    }

    @ParameterizedTest
    @ValueSource(strings = {"--enforce-eage", "--no-tokenizer", "--no-swap-space", "MODEL", "-x", "--"})
    void whatVllmDoesNotKnowIsNoneOfThem(String word) {
        assertThat(VllmFlags.judge(List.of(word), 0)).isEmpty();
    }

    @ParameterizedTest
    @ValueSource(strings = {"serve", "up"})
    void noFlagOfBatonsIsAmongThem(String command) {
        assertThat(VllmFlags.names())
                .doesNotContainAnyElementsOf(Main.program()
                        .getSubcommands()
                        .get(command)
                        .getCommandSpec()
                        .optionsMap()
                        .keySet());
    }

    @Test
    void eachSentenceIsOneAndNamesNoFlagThatIsNotThere() {
        List<String> known = List.copyOf(Main.program()
                .getSubcommands()
                .get("serve")
                .getCommandSpec()
                .optionsMap()
                .keySet());
        for (String name : VllmFlags.names()) {
            String said = VllmFlags.judge(List.of(name + "=x"), 0)
                    .map(verdict -> switch (verdict) {
                        case VllmFlags.Verdict.LeftOut leftOut -> leftOut.warning();
                        case VllmFlags.Verdict.Refused refused -> refused.reason();
                    })
                    .orElseThrow();
            assertThat(said).endsWith(".").doesNotContain("..").doesNotContain("\n");
            java.util.regex.Matcher flags =
                    java.util.regex.Pattern.compile("(?<!its )--[a-z-]+").matcher(said.substring(name.length()));
            while (flags.find()) {
                assertThat(known).as(said).contains(flags.group());
            }
        }
    }
}
