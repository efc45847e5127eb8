"use strict";
(async () => {
  const answer = JSON.parse(document.getElementById("data").textContent);
  const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent.trim()), (c) => c.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const code = document.createElement("script");
  code.textContent = await new Response(unpacked).text();
  document.head.append(code);

  const WINDOW = 10;
  const LIGHT = ["#0062a3", "#b84700", "#00735a", "#9a3d8c", "#7a5c00", "#136f86", "#8c1d50", "#4d4d4d", "#5b4bb5", "#3f6f00"];
  const DARK = ["#6fbdf2", "#ffa066", "#45d6a9", "#eb9ad6", "#e6c84f", "#86d9ec", "#f08cae", "#c4c4c4", "#b3a6ff", "#a6d65c"];
  const SYMBOLS = ["circle", "square", "diamond", "cross", "triangle-up", "x", "star", "hexagon", "triangle-down", "pentagon"];
  const dark = matchMedia("(prefers-color-scheme: dark)");

  function layout(more) {
    const probe = getComputedStyle(document.body);
    const line = dark.matches ? "#454b52" : "#c9cdd3";
    const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true };
    const base = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: probe.color, family: "system-ui, sans-serif", size: 13 },
      margin: { t: 10, r: 10, b: 60, l: 60 }, legend: { orientation: "h", y: -0.22, yanchor: "top" }, hovermode: "closest",
    };
    for (const key of Object.keys(more)) if (/^[xy]axis/.test(key)) more[key] = { ...axis, ...more[key] };
    return { ...base, xaxis: axis, yaxis: axis, ...more };
  }
  const colour = (i) => (dark.matches ? DARK : LIGHT)[i % LIGHT.length];
  const known = (v) => v !== null && v !== undefined;
  const smooth = (values) => values.map((_, i) => {
    const part = values.slice(Math.max(0, i - WINDOW + 1), i + 1).filter(known);
    return part.length ? part.reduce((a, b) => a + b, 0) / part.length : null;
  });

  const PLOTS = {
    // Each gives traces and layout of one plot of a task
    measures(task) {
      const measures = Object.keys(task.measures), names = Object.keys(task.methods), traces = [], more = { showlegend: false };
      const columns = innerWidth < 700 ? 1 : Math.min(measures.length, 3), rows = Math.ceil(measures.length / columns);
      more.grid = { rows, columns, pattern: "independent", ygap: 0.35, xgap: 0.12 };
      more.height = Math.max(260, rows * (70 + 26 * names.length));
      measures.forEach((measure, m) => {
        const id = m ? m + 1 : "";
        more["xaxis" + id] = { title: { text: measure } };
        more["yaxis" + id] = { autorange: "reversed", showticklabels: m % columns === 0 };
        names.forEach((name, i) => {
          const v = task.methods[name].values[measure];
          if (!v || !known(v.mean)) return;
          const bar = known(v.low) ? { type: "data", symmetric: false, array: [v.high - v.mean], arrayminus: [v.mean - v.low] } : undefined;
          traces.push({ x: [v.mean], y: [name], error_x: bar, xaxis: "x" + id, yaxis: "y" + id, type: "scatter", mode: "markers",
            marker: { color: colour(i), symbol: SYMBOLS[i % SYMBOLS.length], size: 9 }, name, hovertemplate: `${name}: %{x:.3f}<extra></extra>` });
        });
      });
      return [traces, more];
    },
    pareto(task) {
      const measure = Object.keys(task.measures)[0], traces = [];
      Object.keys(task.methods).forEach((name, i) => {
        const v = task.methods[name].values[measure], cost = task.costs[name];
        if (!v || !known(v.mean) || !cost) return;
        traces.push({ x: [cost.seconds / 60], y: [v.mean], name, type: "scatter", mode: "markers", marker: { color: colour(i), symbol: SYMBOLS[i % SYMBOLS.length], size: 11 },
          error_y: known(v.low) ? { type: "data", symmetric: false, array: [v.high - v.mean], arrayminus: [v.mean - v.low] } : undefined });
      });
      return [traces, { xaxis: { title: { text: "minutes of training" }, rangemode: "tozero" }, yaxis: { title: { text: measure } } }];
    },
    learning(task) {
      const traces = [], names = Object.keys(task.methods);
      for (const [name, found] of Object.entries(task.learning)) found.runs.forEach((run, seed) => {
        traces.push({ x: run.tokens, y: smooth(run.columns["reward/total"]), name, legendgroup: name, showlegend: seed === 0, type: "scatter", mode: "lines",
          line: { color: colour(names.indexOf(name)), width: 2 }, hovertemplate: `${name}, run ${seed + 1}: %{y:.2f} after %{x:,.0f} tokens<extra></extra>` });
      });
      return [traces, { xaxis: { title: { text: "tokens sampled" } }, yaxis: { title: { text: "reward" } } }];
    },
    hacking(task) {
      const traces = [], names = Object.keys(task.methods), measure = Object.keys(task.measures)[0];
      for (const [name, found] of Object.entries(task.learning)) found.runs.forEach((run, seed) => {
        const at = run.points, first = at[0];
        if (at.length < 2) return;
        const common = { legendgroup: name, type: "scatter", mode: "lines+markers", marker: { symbol: SYMBOLS[names.indexOf(name) % SYMBOLS.length] } };
        const line = { color: colour(names.indexOf(name)) };
        traces.push({ ...common, x: at.map((p) => p.distance), y: at.map((p) => p.proxy - first.proxy), name: `${name}: reward`, showlegend: seed === 0, line });
        if (known(first.gold)) traces.push({ ...common, x: at.map((p) => p.distance), y: at.map((p) => p.gold - first.gold), name: `${name}: ${measure}`, showlegend: seed === 0, yaxis: "y2", line: { ...line, dash: "dash" } });
      });
      // Gao et al. 2022: d (a - b ln d), through the gold measure's points of all seeds
      for (const [name, judged] of Object.entries(task.hacking)) {
        const fit = judged.fit;
        if (!fit) continue;
        const x = Array.from({ length: 41 }, (_, i) => (fit.max_d * i) / 40);
        traces.push({ x, y: x.map((d) => (d ? d * (fit.a - fit.b * Math.log(d)) : 0)), name: `${name}: law`, legendgroup: name, type: "scatter", mode: "lines",
          yaxis: "y2", line: { color: colour(names.indexOf(name)), dash: "dot", width: 1 }, hovertemplate: `${name}, fitted: %{y:.3f}<extra></extra>` });
      }
      return [traces, { xaxis: { title: { text: "root of KL, nats" }, rangemode: "tozero" }, yaxis: { title: { text: "reward gained" } },
        yaxis2: { title: { text: `${measure} gained` }, overlaying: "y", side: "right", showgrid: false } }];
    },
    parts(task, id) {
      const choice = document.querySelector(`[data-choose=parts][data-task="${id}"]`).value, run = task.learning[choice].runs[0];
      const traces = Object.entries(run.columns).map(([name, values], i) => ({ x: run.steps, y: smooth(values), name, type: "scatter", mode: "lines",
        line: { color: colour(i), dash: ["solid", "dash", "dot"][i % 3] }, visible: name.startsWith("reward/") ? true : "legendonly" }));
      return [traces, { xaxis: { title: { text: "update" } } }];
    },
  };

  function draw(only) {
    for (const element of document.querySelectorAll("[data-plot]")) {
      const { task, plot } = element.dataset;
      if (only && (plot !== only.plot || task !== only.task)) continue;
      const [traces, more] = PLOTS[plot](answer.tasks[task], task);
      Plotly.react(element, traces, layout(more), { responsive: true, displayModeBar: false });
    }
  }

  function responses(id) {
    const value = (name) => document.querySelector(`[data-filter=${name}][data-task="${id}"]`);
    const text = value("text").value.toLowerCase(), method = value("method").value, unfinished = value("unfinished").checked, constraint = value("fired").value;
    const box = document.querySelector(`[data-responses][data-task="${id}"]`);
    box.replaceChildren();
    let count = 0;
    for (const example of answer.tasks[id].responses) {
      const said = Object.entries(example.said).filter(([name, r]) =>
        (!method || name === method) && (!text || r.text.toLowerCase().includes(text)) && (!unfinished || r.finished === 0)
        && (!constraint || (constraint === "any" ? Object.keys(r.fired).length : constraint in r.fired)));
      if (!said.length) continue;
      count += said.length;
      const article = document.createElement("article"), list = document.createElement("dl"), title = document.createElement("p");
      title.textContent = example.id;
      for (const [name, r] of said) {
        const item = document.createElement("div"), dt = document.createElement("dt"), dd = document.createElement("dd"), small = document.createElement("small");
        dt.textContent = name;
        dd.textContent = r.text || "(nothing)";
        const numbers = Object.entries(r.measures).filter(([, v]) => known(v)).map(([m, v]) => `${m} ${v.toFixed(2)}`);
        small.textContent = numbers.concat(r.finished === 0 ? ["unfinished"] : [], Object.entries(r.fired).map(([c, why]) => `${c}: ${why}`)).join(", ");
        item.append(dt, dd, small);
        list.append(item);
      }
      article.append(title, list);
      box.append(article);
    }
    document.querySelector(`[data-count][data-task="${id}"]`).textContent = `${count} responses`;
  }

  draw();
  dark.addEventListener("change", () => draw());
  for (const select of document.querySelectorAll("[data-choose]")) select.addEventListener("change", () => draw({ plot: "parts", task: select.dataset.task }));
  for (const task of Object.keys(answer.tasks)) {
    responses(task);
    for (const control of document.querySelectorAll(`[data-filter][data-task="${task}"]`)) control.addEventListener("input", () => responses(task));
  }
  document.documentElement.dataset.ready = "yes";
})();
