package dev.baton.cli;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class FlagNamesTest {
    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "router | maxInFlight is 0                        | --max-in-flight is 0",
                "router | w_ttft and w_tpot are both 0.           | --w-ttft and --w-tpot are both 0.",
                "router | maxMigrations is -1                     | maxMigrations is -1",
                "serve  | blockTokens is 0                        | --block-size is 0",
                "serve  | numBlocks is 0                          | --num-gpu-blocks-override is 0",
                "serve  | maxWaitingTokens is -1                  | --max-num-queued-tokens is -1",
                "serve  | nowhere has no generation_config.json   | nowhere has no generation_config.json",
                "serve  | a/max_num_seqs/b cannot be read         | a/max_num_seqs/b cannot be read",
                "serve  | kv_connector is wrong                   | kv_connector is wrong",
            })
    void fieldsBecomeTheFlagsThatSetThemAndOtherWordsStay(String command, String sentence, String said) {
        assertThat(FlagNames.in(
                        sentence, Main.program().getSubcommands().get(command).getCommandSpec()))
                .isEqualTo(said);
    }
}
