// Numbers as people read them. All take finite values.
#ifndef LATHE_COMMON_REPORT_NUMBER_TEXT_H_
#define LATHE_COMMON_REPORT_NUMBER_TEXT_H_

#include <string>

namespace lathe::page {

// "812 B", "1.40 kB", "12.3 MB": powers of 1000, as the `lathe` command prints sizes.
std::string Bytes(double bytes);
// The same with its sign, for what something costs or saves: "+12.3 kB", "-1.40 MB".
std::string SignedBytes(double bytes);

// "1,204,224": all digits up to 2^53, three significant ones beyond.
std::string Grouped(double value);

// "1.20 M", "12.3 G": three significant digits and a power of 1000. Below 10,000 all digits.
std::string Short(double value);

// "97.14 %" of a share in [0, 1].
std::string Percent(double share, int decimals = 2);

// Three significant digits, no exponent between 1e-4 and 1e6: "0.0123", "4.1", "31.2".
std::string Significant(double value);

// "3.91x" for before / after.
std::string Ratio(double ratio);

// "1.4 pJ", "3.20 mJ".
std::string Energy(double picojoules);

std::string Milliseconds(double ms);

}  // namespace lathe::page

#endif  // LATHE_COMMON_REPORT_NUMBER_TEXT_H_
