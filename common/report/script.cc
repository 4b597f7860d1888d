#include "common/report/html.h"

namespace lathe::page {

// All that the page does with scripts on: sort and search tables, copy the recipe, give the JSON
// back, and switch between light and dark. Without, everything is there to be read.
const char kScript[] = R"js(
'use strict';
(function () {
  var root = document.documentElement;
  document.querySelectorAll('.tools,.copy,.find').forEach(function (e) { e.hidden = false; });

  // Cells carry data-v where what is shown does not sort; empty ones stay last either way.
  function valueOf(row, column) {
    var cell = row.cells[column];
    var text = cell.hasAttribute('data-v') ? cell.getAttribute('data-v') : cell.textContent.trim();
    return text;
  }
  function sortBy(table, column, descending) {
    var heads = table.tHead.rows[0].cells;
    var numeric = heads[column].classList.contains('n');
    var body = table.tBodies[0];
    var rows = Array.prototype.map.call(body.rows, function (row, at) {
      var text = valueOf(row, column);
      return { row: row, at: at, empty: text === '', key: numeric ? Number(text) : text };
    });
    rows.sort(function (a, b) {
      if (a.empty !== b.empty) return a.empty ? 1 : -1;
      var order = 0;
      if (!a.empty) {
        order = numeric ? (a.key < b.key ? -1 : a.key > b.key ? 1 : 0)
                        : a.key.localeCompare(b.key, 'en', { numeric: true });
      }
      return (descending ? -order : order) || a.at - b.at;
    });
    rows.forEach(function (r) { body.appendChild(r.row); });
    Array.prototype.forEach.call(heads, function (head, i) {
      if (i === column) head.setAttribute('aria-sort', descending ? 'descending' : 'ascending');
      else head.removeAttribute('aria-sort');
    });
  }
  document.querySelectorAll('table.sortable').forEach(function (table) {
    Array.prototype.forEach.call(table.tHead.rows[0].cells, function (head, column) {
      var button = document.createElement('button');
      button.type = 'button';
      while (head.firstChild) button.appendChild(head.firstChild);
      head.appendChild(button);
      button.addEventListener('click', function () {
        var now = head.getAttribute('aria-sort');
        // Sizes and counts are asked for from the largest on; what is small is bad, from the smallest.
        var first = head.classList.contains('n') && !head.classList.contains('low');
        sortBy(table, column, now ? now === 'ascending' : first);
      });
    });
  });

  document.querySelectorAll('.find input').forEach(function (input) {
    var table = document.getElementById(input.getAttribute('data-table'));
    var count = input.closest('.find').querySelector('output');
    input.addEventListener('input', function () {
      var wanted = input.value.toLowerCase(), shown = 0;
      Array.prototype.forEach.call(table.tBodies[0].rows, function (row) {
        var hit = row.textContent.toLowerCase().indexOf(wanted) >= 0;
        row.hidden = !hit;
        if (hit) ++shown;
      });
      count.textContent = wanted ? shown + ' found' : '';
    });
  });

  function copied(button) {
    var old = button.textContent;
    button.textContent = 'Copied';
    setTimeout(function () { button.textContent = old; }, 1500);
  }
  document.querySelectorAll('.copy').forEach(function (button) {
    button.addEventListener('click', function () {
      var source = document.getElementById(button.getAttribute('data-from'));
      function byHand() {  // pages opened from a file may not have the clipboard
        var range = document.createRange();
        range.selectNodeContents(source);
        var selection = getSelection();
        selection.removeAllRanges();
        selection.addRange(range);
        if (document.execCommand('copy')) copied(button);
      }
      if (!navigator.clipboard) return byHand();
      navigator.clipboard.writeText(source.textContent).then(function () { copied(button); }, byHand);
    });
  });

  var theme = document.getElementById('theme');
  function isDark() {
    var set = root.getAttribute('data-theme');
    return set ? set === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  }
  function label() { theme.textContent = isDark() ? 'Light' : 'Dark'; }
  theme.addEventListener('click', function () {
    root.setAttribute('data-theme', isDark() ? 'light' : 'dark');
    label();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', label);
  label();

  var save = document.getElementById('save'), data = document.getElementById('data');
  if (!data) save.hidden = true;
  save.addEventListener('click', function () {
    var text = data.textContent + '\n';  // not parsed: a seed may have more digits than a double
    var link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
    link.download = save.getAttribute('data-file');
    link.click();
    setTimeout(function () { URL.revokeObjectURL(link.href); }, 1000);
  });
})();
)js";

}  // namespace lathe::page
