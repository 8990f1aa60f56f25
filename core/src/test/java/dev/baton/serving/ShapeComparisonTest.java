package dev.baton.serving;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ShapeComparisonTest {
    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            {"id": "a", "n": 1}              | {"id": "b", "n": 2.5}           | 0
            {"id": "a"}                      | {"id": "b", "more": 1}          | 0
            {"id": null}                     | {}                              | 0
            {"id": null}                     | {"id": {"x": 1}}                | 0
            {"top_logprobs": {"a": 1}}       | {"top_logprobs": {"b": 1}}      | 0
            {"id": "a"}                      | {}                              | 1
            {"id": "a"}                      | {"id": 1}                       | 1
            {"id": true}                     | {"id": 1}                       | 1
            {"finish_reason": "stop"}        | {"finish_reason": "length"}     | 1
            {"param": "a"}                   | {"param": null}                 | 1
            {"list": []}                     | {"list": [1]}                   | 1
            {"list": [1]}                    | {"list": []}                    | 1
            {"list": [{"a": 1}, {"a": 1}]}   | {"list": [{"a": 1}, {"b": 1}]}  | 1
            {"list": [{"a": 1}, {"a": 1}]}   | {"list": [{"b": 1}, {"a": 1}]}  | 1
            """)
    void differencesAreFound(String expected, String actual, int count) {
        assertThat(ShapeComparison.differences(Instance.JSON.readTree(expected), Instance.JSON.readTree(actual)))
                .hasSize(count);
    }
}
