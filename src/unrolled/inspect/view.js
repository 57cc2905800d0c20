// Text views. Every .unrolled-view holds its data as JSON; the views know nothing of each other but the cursor's unit.
function bytes(base64) { return Uint8Array.from(atob(base64), function (c) { return c.charCodeAt(0); }); }

function View(root) {
  const data = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
  const N = data.text.length, K = data.top;
  const levels = new Int8Array(bytes(data.levels).buffer);        // (shown units, N)
  const next = new Uint16Array(bytes(data.next).buffer);          // (N, K) ids of the most probable next units
  const chances = bytes(data.chances);                            // (N, K), 255 is 1
  const near = new Int32Array(bytes(data.near).buffer);           // (N, near_count), -1 is none
  const likeness = new Int8Array(bytes(data.likeness).buffer);    // (N, near_count), 127 is 1
  const select = root.querySelector('select.unit'), type = root.querySelector('input.unit-name');
  const page = root.querySelector('.text'), detail = root.querySelector('.detail');
  const strip = root.querySelector('.strip'), found = root.querySelector('.found'), legend = root.querySelector('.legend');
  let unit = 0, cursor = 0, spans = [];

  function shown(piece) {  // what a unit looks like in a table; the text itself keeps its line feeds
    return piece.replace(/\n/g, '⏎').replace(/\t/g, '⇥').replace(/ /g, '␣').replace(/[\u0000-\u001f\u007f]/g, '·') || '∅';
  }
  function colour(level) {  // orange above zero, blue below: told apart by every kind of colour vision
    const alpha = (0.85 * Math.abs(level) / 127).toFixed(3);
    return level < 0 ? 'rgba(31,95,168,' + alpha + ')' : 'rgba(217,115,13,' + alpha + ')';
  }
  function value(k) { return levels[unit * N + k] / 127 * data.units[unit].scale; }

  function build() {
    const all = document.createDocumentFragment();
    for (let k = 0; k < N; k++) {
      const span = document.createElement('span');
      span.className = 'u';
      span.dataset.k = k;
      span.textContent = data.text[k].replace(/\n/g, '⏎\n').replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, '·');
      all.appendChild(span);
    }
    page.appendChild(all);
    spans = page.children;
  }
  function paint() {
    const about = data.units[unit], row = levels.subarray(unit * N, (unit + 1) * N);
    for (let k = 0; k < N; k++) spans[k].style.backgroundColor = colour(row[k]);
    legend.textContent = about.name + ': blue is ' + (-about.scale).toPrecision(3) + ', white 0, orange ' +
      about.scale.toPrecision(3) + '. ' + about.why;
    root.dataset.unit = about.name;
    move(cursor);
  }
  function predictions(k) {
    const out = [];
    for (let j = 0; j < K; j++) out.push([shown(data.vocabulary[next[k * K + j]]), chances[k * K + j] / 255]);
    return out;
  }
  function column(k) {
    const cell = document.createElement('div');
    const head = document.createElement('b');
    head.textContent = shown(data.text[k]);
    head.style.backgroundColor = colour(levels[unit * N + k]);
    cell.appendChild(head);
    predictions(k).forEach(function (p) {
      const guess = document.createElement('span');
      guess.textContent = p[0];
      guess.style.backgroundColor = 'rgba(40,120,60,' + (0.8 * p[1]).toFixed(3) + ')';
      guess.title = p[0] + ' ' + p[1].toFixed(2);
      cell.appendChild(guess);
    });
    return cell;
  }
  function move(k) {
    if (spans[cursor]) spans[cursor].classList.remove('at');
    cursor = Math.max(0, Math.min(N - 1, k));
    spans[cursor].classList.add('at');
    detail.textContent = 'Unit ' + cursor + ', ' + shown(data.text[cursor]) + ': ' + data.units[unit].name + ' = ' +
      value(cursor).toPrecision(3) + '. Next: ' +
      predictions(cursor).map(function (p) { return p[0] + ' ' + p[1].toFixed(2); }).join(', ');
    strip.replaceChildren();
    for (let j = cursor; j < Math.min(N, cursor + 40); j++) strip.appendChild(column(j));
  }
  function alike(k) {
    const list = document.createElement('ol');
    for (let j = 0; j < data.near_count; j++) {
      const at = near[k * data.near_count + j];
      if (at < 0) continue;
      const item = document.createElement('li'), link = document.createElement('button');
      link.type = 'button';
      link.dataset.to = at;
      link.textContent = '…' + data.text.slice(Math.max(0, at - 40), at + 1).map(shown).join('') + '│' +
        data.text.slice(at + 1, at + 16).map(shown).join('') + '…';
      item.appendChild(link);
      item.appendChild(document.createTextNode(' cosine ' + (likeness[k * data.near_count + j] / 127).toFixed(2)));
      list.appendChild(item);
    }
    const head = document.createElement('p');
    head.textContent = 'Where the state is most like the one after …' +
      data.text.slice(Math.max(0, k - 20), k + 1).map(shown).join('') + '│';
    found.replaceChildren(head, list);
  }
  function choose(name) {
    const k = data.units.findIndex(function (u) { return u.name === name; });
    if (k < 0) { legend.textContent = name + ' is not among the ' + data.units.length + ' units on this page.'; return; }
    unit = k;
    select.value = name;
    type.value = name;
    paint();
  }
  function under(event) { const s = event.target.closest('.u'); return s ? Number(s.dataset.k) : -1; }

  build();
  select.addEventListener('change', function () { choose(select.value); });
  type.addEventListener('change', function () { choose(type.value.trim()); });
  page.addEventListener('mouseover', function (e) { const k = under(e); if (k >= 0) move(k); });
  page.addEventListener('keydown', function (e) {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 40, ArrowUp: -40 }[e.key];
    if (step) { e.preventDefault(); move(cursor + step); spans[cursor].scrollIntoView({ block: 'nearest' }); }
    if (e.key === 'Enter') alike(cursor);
  });
  page.addEventListener('mouseup', function (e) {  // a selected span is found by the state after its last unit
    const picked = window.getSelection(), end = picked && picked.rangeCount ? picked.getRangeAt(0) : null;
    let k = under(e);
    if (end && !end.collapsed) {
      const last = end.endOffset === 0 ? end.endContainer.previousSibling : end.endContainer;
      const span = last && (last.nodeType === 3 ? last.parentNode : last);
      if (span && span.dataset && span.dataset.k && page.contains(span)) k = Number(span.dataset.k);
    }
    if (k >= 0) { move(k); alike(k); }
  });
  found.addEventListener('click', function (e) {
    const to = e.target.dataset.to;
    if (to !== undefined) { move(Number(to)); spans[cursor].scrollIntoView({ block: 'center' }); alike(cursor); }
  });
  const wanted = /[#&]unit=([^&]+)/.exec(window.location.hash);
  choose(wanted ? decodeURIComponent(wanted[1]) : data.units[0].name);
  if (!root.dataset.unit) choose(data.units[0].name);
}
document.querySelectorAll('.unrolled-view').forEach(View);
