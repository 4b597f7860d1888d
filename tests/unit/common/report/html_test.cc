#include "common/report/html.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/report/number_text.h"

namespace lathe::page {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(EscapeTest, LeavesNothingThatHtmlReads) {
  EXPECT_EQ(Escape("<a href=\"x\" id='y'>&amp;</a>"),
            "&lt;a href=&quot;x&quot; id=&#39;y&#39;&gt;&amp;amp;&lt;/a&gt;");
}

TEST(EscapeTest, ReplacesWhatIsNoText) {
  const std::string kBad = "\xEF\xBF\xBD";
  struct Case {
    std::string given, expected;
  };
  const Case kCases[] = {
      {std::string("a\0b", 3), "a" + kBad + "b"},
      {"a\x1b[0m\x7f", "a" + kBad + "[0m" + kBad},
      {"line\n\ttab", "line\n\ttab"},
      {"\xc3\xa9 \xf0\x9f\x98\x80", "\xc3\xa9 \xf0\x9f\x98\x80"},
      {"\xff", kBad},
      {"\xc3", kBad},                                   // cut short
      {"\xc0\xaf", kBad + kBad},                        // overlong '/'
      {"\xe0\x80\xbc", kBad + kBad + kBad},             // overlong '<'
      {"\xed\xa0\x80", kBad + kBad + kBad},             // surrogate
      {"\xf4\x90\x80\x80", kBad + kBad + kBad + kBad},  // past U+10FFFF
      {"\xc3<", kBad + "&lt;"},                         // a lead byte swallows nothing
  };
  for (const Case& c : kCases) EXPECT_EQ(Escape(c.given), c.expected);
}

TEST(ScriptJsonTest, CannotEndItsElementAndReadsBackTheSame) {
  const nlohmann::json value = {{"</script><!--", "a&b\xE2\x80\xA8\xE2\x80\xA9 \"'"}};
  const std::string text = ScriptJson(value);
  for (const char* bad : {"<", ">", "&", "\xE2\x80\xA8", "\xE2\x80\xA9"}) {
    EXPECT_THAT(text, Not(HasSubstr(bad)));
  }
  EXPECT_EQ(nlohmann::json::parse(text), value);
}

TEST(ScriptJsonTest, TakesBytesThatAreNotUtf8) {
  EXPECT_EQ(ScriptJson("\xff"), "\"\xEF\xBF\xBD\"");
}

TEST(ShortenTest, CountsCharactersAndCutsBetweenThem) {
  EXPECT_EQ(Shorten("abcdefgh", 8), "abcdefgh");
  EXPECT_EQ(Shorten("abcdefgh", 5), "ab\xE2\x80\xA6gh");
  EXPECT_EQ(Shorten("\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9", 3), "\xc3\xa9\xE2\x80\xA6\xc3\xa9");
}

TEST(NameTest, IsKeptApartFromTheTextAround) {
  EXPECT_EQ(Name("a/<b>"), "<bdi class=\"name\">a/<wbr>&lt;b&gt;</bdi>");
  EXPECT_EQ(Name(""), "");
}

TEST(ProseTest, KeepsNumbersWithTheirUnits) {
  EXPECT_EQ(Prose("a 12.3 MB file at 4 bits, 9 dB < all MB"),
            "a 12.3&nbsp;MB file at 4&nbsp;bits, 9&nbsp;dB &lt; all MB");
}

TEST(NumberTextTest, ReadsAsPeopleWriteNumbers) {
  EXPECT_EQ(Bytes(0), "0 B");
  EXPECT_EQ(Bytes(999), "999 B");
  EXPECT_EQ(Bytes(1000), "1.00 kB");
  EXPECT_EQ(Bytes(9996), "10.0 kB");
  EXPECT_EQ(Bytes(999499), "999 kB");
  EXPECT_EQ(Bytes(999500), "1.00 MB");
  EXPECT_EQ(Bytes(2.5e9), "2.50 GB");
  EXPECT_EQ(Grouped(1204224), "1,204,224");
  EXPECT_EQ(Grouped(-1234), "-1,234");
  EXPECT_EQ(Grouped(-0.2), "0");
  EXPECT_EQ(Short(9999), "9,999");
  EXPECT_EQ(Short(1204224), "1.20 M");
  EXPECT_EQ(Percent(0.97142), "97.14 %");
  EXPECT_EQ(Significant(0.01234), "0.0123");
  EXPECT_EQ(Significant(123.4), "123");
  EXPECT_EQ(Significant(1e300), "1.00e+300");
  EXPECT_EQ(Energy(1.5e9), "1.50 mJ");
}

}  // namespace
}  // namespace lathe::page
