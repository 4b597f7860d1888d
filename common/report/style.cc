#include "common/report/html.h"

namespace lathe::page {

// Grey is what was, the accent what is: told apart by lightness as well, so by everyone. Text keeps
// a contrast of 4.5 or more against what is behind it, in both schemes
// (tests/e2e/test_report_page.py).
const char kStyle[] = R"css(
:root{color-scheme:light;--bg:#fbfbfa;--panel:#ffffff;--text:#1d2125;--soft:#565d66;--line:#dcdfe3;
--before:#a9b0b8;--after:#1f5fa8;--heat:60%;--good:#1b6b3a;--bad:#a8322a;--warn-bg:#fdf4e3;--warn:#7a4b00;--code:#f2f3f4}
:root[data-theme=dark]{color-scheme:dark;--bg:#15181b;--panel:#1c2024;--text:#e6e8ea;--soft:#a6adb5;--line:#343a41;
--before:#6b737c;--after:#6cb0f5;--heat:50%;--good:#6fcf97;--bad:#ff938a;--warn-bg:#332a17;--warn:#f0c987;--code:#23282d}
@media (prefers-color-scheme:dark){:root:not([data-theme=light]){color-scheme:dark;--bg:#15181b;--panel:#1c2024;
--text:#e6e8ea;--soft:#a6adb5;--line:#343a41;--before:#6b737c;--after:#6cb0f5;--heat:50%;--good:#6fcf97;--bad:#ff938a;
--warn-bg:#332a17;--warn:#f0c987;--code:#23282d}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0;background:var(--bg);color:var(--text);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif}
.page{max-width:1080px;margin:0 auto;padding:28px 24px 48px;position:relative}
h1,h2,h3,p{margin:0}
h1{font-size:26px;line-height:1.25;font-weight:650;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:18px;line-height:1.3;font-weight:600;margin:0 0 12px}
h3{font-size:13px;font-weight:500;color:var(--soft)}
a{color:var(--after)}
code,pre{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
code{overflow-wrap:anywhere}
.kind{font-size:13px;color:var(--soft);margin:0 150px 4px 0}
.done{margin-top:4px;color:var(--soft);overflow-wrap:anywhere}
.verdict{margin-top:12px;font-size:18px;line-height:1.45;max-width:46em;overflow-wrap:anywhere}
.tools{position:absolute;top:24px;right:24px;display:flex;gap:8px}
.tools[hidden],.copy[hidden],.find[hidden]{display:none}
button{font:inherit;font-size:13px;color:var(--text);background:var(--panel);border:1px solid var(--line);
border-radius:5px;padding:3px 10px;cursor:pointer}
button:hover{border-color:var(--soft)}
:focus-visible{outline:2px solid var(--after);outline-offset:2px}
nav{margin:20px 0 0;border-top:1px solid var(--line);border-bottom:1px solid var(--line)}
nav ul{display:flex;flex-wrap:wrap;gap:4px 18px;list-style:none;margin:0;padding:9px 0;font-size:13px}
nav a{color:var(--soft);text-decoration:none}
nav a:hover{color:var(--text);text-decoration:underline}
section{margin-top:36px;scroll-margin-top:12px}
.name{overflow-wrap:anywhere}
.hint{color:var(--soft);font-size:13px;margin-bottom:10px;max-width:60em;overflow-wrap:anywhere}
.says{margin-bottom:12px}
.notice,.warnings{background:var(--warn-bg);color:var(--warn);border-radius:6px;padding:10px 14px;margin:0 0 14px;
overflow-wrap:anywhere}
.warnings{margin-top:16px}
.warnings h2{font-size:14px;margin:0 0 2px}
.lines{margin:0;padding-left:20px;max-width:60em;overflow-wrap:anywhere}
.lines li{margin:3px 0}
.warnings .lines{font-size:14px}
#next .lines{font-size:16px}
.legend{display:flex;flex-wrap:wrap;align-items:center;gap:6px;font-size:13px;color:var(--soft);margin-bottom:10px}
.legend{gap:4px 16px}
.legend .item{display:inline-flex;align-items:center;gap:6px}
.legend .key{width:14px;height:9px;border-radius:1px;flex:none}
.key.before{background:var(--before)}.key.after{background:var(--after)}
.legend .dot{width:10px;height:10px;border-radius:50%}
.key.ring{border:2px solid var(--before)}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(240px,1fr));gap:12px}
.card{background:var(--panel);border:1px solid var(--line);border-radius:7px;padding:13px 15px;min-width:0}
.figure{margin:3px 0 7px;font-size:17px;font-variant-numeric:tabular-nums;white-space:nowrap}
.figure strong{font-size:20px;font-weight:650}
.old{color:var(--soft)}
.figure i,.value i{font-style:normal;color:var(--soft)}
.more{font-size:13px;color:var(--soft);font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
svg{display:block}
rect.before,circle.before,path.before{fill:var(--before)}
rect.after,circle.after{fill:var(--after)}
path.before{opacity:.75}
path.after-line{fill:none;stroke:var(--after);stroke-width:1.5;vector-effect:non-scaling-stroke}
circle.ring{fill:none;stroke:var(--before);stroke-width:2}
.pair{margin:4px 0}
.bars{list-style:none;margin:0;padding:0}
.bars li{display:grid;grid-template-columns:minmax(0,19em) minmax(80px,1fr) auto;gap:14px;align-items:center;
padding:3px 0;font-size:13px}
.bars .label{text-align:right}
.bars .value{min-width:11.5em;font-variant-numeric:tabular-nums;color:var(--text)}
.bars li .pair{margin:0}
.plot{margin-bottom:16px;overflow:visible}
.plot text{fill:var(--soft);font-size:12px}
.plot .mark{fill:var(--text);paint-order:stroke;stroke:var(--bg);stroke-width:4px;stroke-linejoin:round}
.plot .grid{stroke:var(--line)}
.plot .curve{stroke:var(--after);stroke-width:1.8;stroke-linecap:round}
.plot .curve.second{stroke:var(--before)}
.plot .way{stroke:var(--after);stroke-width:1.5;opacity:.6}
.plot .way~circle.ring{fill:var(--bg)}
.plot .ring{stroke:var(--soft)}
#error .key.ring{border-color:var(--soft)}
.scroll{overflow:auto;border:1px solid var(--line);border-radius:7px;background:var(--panel);margin-bottom:14px;
max-width:100%}
#error .scroll,#cost .scroll,#layers-section .scroll{max-height:36rem}
.bars+.scroll{margin-top:14px}
table{border-collapse:collapse;width:100%;font-size:13px}
caption{text-align:left;padding:9px 12px 7px;color:var(--soft);white-space:nowrap}
th,td{padding:6px 12px;text-align:left;vertical-align:top;border-top:1px solid var(--line)}
tbody th{font-weight:500;min-width:9em;max-width:24em}
.sortable tbody th{min-width:16em}
.sortable thead th{white-space:normal;min-width:4.6em}
td{max-width:30em;overflow-wrap:break-word}
thead th{font-weight:600;color:var(--soft);white-space:nowrap;vertical-align:bottom}
.scroll thead th{position:sticky;top:0;background:var(--panel);box-shadow:inset 0 -1px 0 var(--line)}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.none,.sub{color:var(--soft)}
th button{border:0;background:none;padding:0;font:inherit;font-weight:600;color:inherit;text-align:inherit}
th button::after{content:"";display:inline-block;width:1em;text-align:right;color:var(--after)}
th[aria-sort=ascending] button::after{content:"\2191"}
th[aria-sort=descending] button::after{content:"\2193"}
th[aria-sort]{color:var(--text)}
.facts th{width:9em}
td ul.lines{padding-left:16px}
#layers td:nth-child(4){min-width:10em}
#layers td:last-child,#steps-table td:last-child{min-width:16em}
.good{color:var(--good);font-weight:600}.bad{color:var(--bad);font-weight:600}
.find{margin-bottom:8px;font-size:13px;color:var(--soft)}
input{font:inherit;color:var(--text);background:var(--panel);border:1px solid var(--line);border-radius:5px;
padding:3px 8px;width:16em;max-width:100%}
.histograms{display:grid;grid-template-columns:repeat(auto-fill,minmax(210px,1fr));gap:14px;margin-bottom:14px}
.histogram{margin:0;background:var(--panel);border:1px solid var(--line);border-radius:7px;padding:9px 12px;min-width:0}
.histogram figcaption{font-size:13px;margin-bottom:6px;white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
.histogram svg{width:100%;height:84px;border-bottom:1px solid var(--line)}
.axis{display:flex;justify-content:space-between;gap:8px;font-size:12px;color:var(--soft);margin-top:3px}
summary{cursor:pointer;font-size:13px;color:var(--soft);margin-bottom:12px}
.maps{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:14px;align-items:start}
.heat-box{padding:0 10px 10px}
.heat{width:auto;border-spacing:2px;border-collapse:separate}
.heat td,.heat th{border:0;padding:4px 6px;text-align:center;font-variant-numeric:tabular-nums;min-width:2.6em;
max-width:none;white-space:nowrap}
.heat tbody td{background:color-mix(in srgb,var(--after) calc(var(--s)*var(--heat)),var(--panel));
-webkit-print-color-adjust:exact;print-color-adjust:exact}
.heat .corner{font-size:12px;color:var(--soft);text-align:left}
.heat.small td,.heat.small th{padding:0;min-width:14px;font-size:10px;height:14px}
.heat.small .corner{font-size:10px;padding-right:6px}
.code{position:relative}
.code .copy{position:absolute;top:8px;right:8px}
pre{margin:0 0 14px;padding:12px 14px;background:var(--code);border-radius:7px;overflow:auto}
footer{margin-top:40px;padding-top:12px;border-top:1px solid var(--line);font-size:13px;color:var(--soft)}
@media (max-width:640px){
.page{padding:18px 14px 36px}
.tools{position:static;margin-bottom:12px}
.kind{margin-right:0}
h1{font-size:22px}
.verdict{font-size:16px}
.cards{grid-template-columns:1fr}
.bars li{grid-template-columns:minmax(0,1fr) auto;gap:2px 10px;padding:6px 0}
.bars .label{text-align:left}
.bars .value{min-width:0;order:2;text-align:right}
.bars li .pair,.bars li span:empty{order:3;grid-column:1/-1}
.histograms{grid-template-columns:1fr}
.scroll{max-height:28rem}
tbody th{min-width:7em}
.sortable tbody th{min-width:11em}
.plot .extra{display:none}
th,td{padding:6px 9px}
}
@media print{
:root,:root[data-theme=dark]{color-scheme:light;--bg:#fff;--panel:#fff;--text:#000;--soft:#444;--line:#bbb;--before:#a9b0b8;
--after:#1f5fa8;--heat:60%;--good:#1b6b3a;--bad:#a8322a;--warn-bg:#fff;--warn:#000;--code:#fff}
.page{max-width:none;padding:0}
nav,.tools,.copy,.find{display:none}
.scroll,#error .scroll,#cost .scroll,#layers-section .scroll{overflow:visible;max-height:none;border:0}
.scroll thead th{position:static}
table{font-size:10px}
th,td{padding:3px 5px}
section{margin-top:20px}
.card,.histogram,tr,.bars li,figure{break-inside:avoid}
h2{break-after:avoid}
}
)css";

}  // namespace lathe::page
