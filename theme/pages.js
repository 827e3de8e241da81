// What mdBook's own script falls short of: keys, search, paper.

// What scrolls sideways must be reachable with the keyboard, and there the arrows must scroll and not turn mdBook's page.
for (const region of document.querySelectorAll("main :is(.table-wrapper, div.output, math[display=block], pre > code)")) {
    region.addEventListener("keydown", event => event.target === region && event.stopPropagation());
    new ResizeObserver(() => {
        if (region.scrollWidth > region.clientWidth + 1) {
            region.setAttribute("tabindex", "0");
        } else {
            region.removeAttribute("tabindex");
        }
    }).observe(region);
}

// mdBook's button for the sidebar is a bare <label>.
const sidebarToggle = document.getElementById("mdbook-sidebar-toggle");
sidebarToggle.setAttribute("role", "button");
sidebarToggle.setAttribute("tabindex", "0");
sidebarToggle.addEventListener("keydown", event => {
    if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        sidebarToggle.click();
    }
});

// Search: prose counts before code and output, and a word that is nowhere is read as those nearest to it.
// mdBook shows the results, MiniSearch finds them. kit/book.py puts code and output between ␂ and ␃.
elasticlunr.Index.load = ({ documentStore }) => {
    const stem = word => elasticlunr.stopWordFilter(elasticlunr.stemmer(word.toLowerCase()));
    const stems = MiniSearch.getDefault("tokenize");
    const fields = ["title", "prose", "code"];
    const index = new MiniSearch({ fields, storeFields: ["breadcrumbs", ...fields], processTerm: stem });
    index.addAll(Object.values(documentStore.docs).map(({ body, ...section }) => ({
        ...section,
        prose: body.replace(/␂[^␃]*␃/g, " "),
        code: body.match(/(?<=␂)[^␃]*/g)?.join(" ") ?? "",
    })));
    const find = (query, more) => index.search(query, { boost: { title: 3, code: 0.01 }, prefix: true, ...more });
    const nowhere = word => !find(word, { processTerm: same => same }).length;

    // A teaser begins near the first word that was found: mdBook looks for the word as it was typed.
    const teaser = ({ prose, code, match, terms }) => {
        const onlyCode = Object.values(match).flat().every(field => field === "code");
        const words = (onlyCode || !prose.trim() ? code : prose).trim().split(/\s+/);
        const first = words.findIndex(word => stems(word).some(part => terms.includes(stem(part))));
        return words.slice(Math.max(0, first - 8)).join(" ");
    };
    return { search(query) {
        const results = find(query, { fuzzy: word => nowhere(word) && 0.25 }).slice(0, 30);
        return results.map(result => ({ ref: result.id, doc: { ...result, body: teaser(result) } }));
    } };
};

// On paper: light figures, and the solutions of the exercises after everything else. Afterwards all is as it was.
const undo = [];
window.addEventListener("beforeprint", () => {
    const look = document.documentElement.className, main = document.querySelector("main");
    document.documentElement.classList.remove("rust", "coal", "navy", "ayu");
    document.documentElement.classList.add("light");
    undo.push(() => { document.documentElement.className = look; });

    const headings = [...main.querySelectorAll("h2, h3")];
    const solutions = document.createElement("section");
    solutions.className = "solutions";
    for (const fold of main.querySelectorAll("details")) {
        if (!fold.querySelector("summary").textContent.startsWith("Solution")) continue;
        const pointer = document.createElement("p"), title = document.createElement("h3"), wasOpen = fold.open;
        const above = heading => heading.compareDocumentPosition(fold) & Node.DOCUMENT_POSITION_FOLLOWING;
        pointer.textContent = "The solution is at the end.";
        title.textContent = headings.findLast(above)?.textContent;
        undo.push(() => { pointer.replaceWith(fold); fold.open = wasOpen; });
        fold.replaceWith(pointer);
        fold.open = true;
        solutions.append(title, fold);
    }
    if (!solutions.hasChildNodes()) return;
    const title = document.createElement("h2");
    title.textContent = "Solutions";
    solutions.prepend(title);
    main.append(solutions);
    undo.push(() => solutions.remove());
});
window.addEventListener("afterprint", () => undo.splice(0).forEach(step => step()));
