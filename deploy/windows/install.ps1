<#
.SYNOPSIS
    Installs Martensight on a Windows PC as a service, or brings an installation up to date.

.DESCRIPTION
    The program gets a Python of its own under "Program Files", which only administrators can change; settings, data and
    logs lie under "ProgramData" and are left alone by an update. After it nobody needs to be an administrator.
    With -Wheels nothing is fetched from the internet: the folder holds the wheels that
    "agent support wheels" collected on another PC and, for the private Python, python-3.*-amd64.exe from python.org.

.EXAMPLE
    .\install.ps1 -Wheels D:\martensight -Account "LAB\svc-martensight$"
.EXAMPLE
    .\install.ps1 -PythonInstaller .\python-3.12.10-amd64.exe -Package .\martensight-VERSION-py3-none-any.whl
#>
[CmdletBinding()]
param(
    # Where the program goes.
    [string]$Program = "$env:ProgramFiles\Martensight",
    # Where settings, data and logs go.
    [string]$Data = "$env:ProgramData\Martensight",
    # A folder of wheels; then nothing is fetched.
    [string]$Wheels = "",
    # This program: its name, or its wheel.
    [string]$Package = "martensight",
    # What is installed with it.
    [string]$Extras = "postgres,vendor,openvino",
    # python-3.*-amd64.exe; by default the one in -Wheels.
    [string]$PythonInstaller = "",
    # A python.exe that is there already (3.11 to 3.13), where no installer is wanted.
    [string]$Python = "",
    # Whom the service runs as: DOMAIN\user, a gMSA DOMAIN\name$, or empty for LocalSystem.
    [string]$Account = "",
    # A group whose members may use the commands and read the data folder, such as LAB\Metallography.
    [string]$Users = "",
    # Tell Microsoft Defender to leave the data folder alone.
    [switch]$ExcludeFromDefender
)

Set-StrictMode -Version Latest
$ErrorActionPreference = "Stop"

function Test-Administrator {
    $identity = [Security.Principal.WindowsIdentity]::GetCurrent()
    $principal = New-Object Security.Principal.WindowsPrincipal($identity)
    return $principal.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)
}

function Invoke-Step {
    param([string]$File, [string[]]$Arguments, [int[]]$Good = @(0))
    Write-Host "> $File $($Arguments -join ' ')"
    & $File @Arguments
    if ($Good -notcontains $LASTEXITCODE) {
        throw "$File ended with $LASTEXITCODE; what it said stands above."
    }
}

function Install-PrivatePython {
    param([string]$Installer, [string]$Target)
    New-Item -ItemType Directory -Force -Path $Program | Out-Null
    $signature = Get-AuthenticodeSignature -FilePath $Installer
    if ($signature.Status -ne "Valid" -or $signature.SignerCertificate.Subject -notmatch "Python Software Foundation") {
        throw "${Installer}: not signed by the Python Software Foundation ($($signature.Status)); fetch it again."
    }
    $options = @(
        "/quiet", "InstallAllUsers=1", "TargetDir=`"$Target`"", "Include_launcher=0", "Include_test=0",
        "Include_doc=0", "Include_tcltk=0", "AssociateFiles=0", "Shortcuts=0", "PrependPath=0", "CompileAll=1"
    )
    $done = Start-Process -FilePath $Installer -ArgumentList $options -Wait -PassThru
    if ($done.ExitCode -notin @(0, 3010)) {
        throw "${Installer} ended with $($done.ExitCode); its log is in $env:TEMP."
    }
    if (-not (Test-Path -LiteralPath (Join-Path $Target "python.exe"))) {
        throw "This PC has that very Python already, so it was not installed again: name it with -Python, or take another version."
    }
    # Kept, so that uninstall.ps1 takes away this Python and no other.
    Copy-Item -LiteralPath $Installer -Destination (Join-Path $Program "python-installer.exe")
}

function Find-PythonInstaller {
    if ($PythonInstaller) { return $PythonInstaller }
    if (-not $Wheels) { return "" }
    $found = Get-ChildItem -Path $Wheels -Filter "python-3.*-amd64.exe" | Sort-Object Name | Select-Object -Last 1
    if ($found) { return $found.FullName }
    return ""
}

function Confirm-Wheel {
    # A stick that lost a byte is found before anything is changed.
    $list = Join-Path $Wheels "SHA256SUMS"
    if (-not (Test-Path -LiteralPath $list)) { return }
    foreach ($line in Get-Content -LiteralPath $list) {
        $sum, $name = $line -split "\s+", 2
        $hash = (Get-FileHash -LiteralPath (Join-Path $Wheels $name) -Algorithm SHA256).Hash
        if ($hash -ne $sum) { throw "${name}: damaged on its way; copy the folder of wheels again." }
    }
}

if (-not (Test-Administrator)) {
    throw "Run this in an administrator's PowerShell (right click, Run as administrator)."
}
if (-not [Environment]::Is64BitOperatingSystem) { throw "Martensight needs 64-bit Windows." }
if ($Wheels) { Confirm-Wheel }

# --- stop what runs: its files are in use -----------------------------------------------------------------------------
$service = Get-Service -Name "Martensight" -ErrorAction SilentlyContinue
if ($service -and $service.Status -ne "Stopped") {
    Write-Host "stopping the service; the file in hand is finished"
    Stop-Service -Name "Martensight"
    (Get-Service -Name "Martensight").WaitForStatus("Stopped", [TimeSpan]::FromSeconds(60))
}

# --- a Python of its own ----------------------------------------------------------------------------------------------
$home_ = Join-Path $Program "Python"
$interpreter = Join-Path $home_ "python.exe"
if (-not (Test-Path -LiteralPath $interpreter)) {
    $installer = Find-PythonInstaller
    if ($installer) {
        Install-PrivatePython -Installer $installer -Target $home_
    }
    elseif ($Python) {
        Invoke-Step -File $Python -Arguments @("-m", "venv", $home_)
        $interpreter = Join-Path $home_ "Scripts\python.exe"
    }
    else {
        throw "Name -PythonInstaller (python-3.12.*-amd64.exe from python.org), or -Python for one that is there."
    }
}
if (Test-Path -LiteralPath (Join-Path $home_ "Scripts\python.exe")) {
    $interpreter = Join-Path $home_ "Scripts\python.exe"
}
$version = & $interpreter -c "import sys; print('%d.%d' % sys.version_info[:2])"
if ($version -notin @("3.11", "3.12", "3.13")) { throw "${interpreter}: Python $version; 3.11 to 3.13 are supported." }

# --- the program ------------------------------------------------------------------------------------------------------
$wanted = $Package
if ($Extras) { $wanted = "$Package[$Extras]" }
$pip = @("-m", "pip", "install", "--upgrade", "--no-warn-script-location", "--disable-pip-version-check")
if ($Wheels) { $pip += @("--no-index", "--find-links", $Wheels) }
Invoke-Step -File $interpreter -Arguments ($pip + $wanted)

# --- settings, data and logs: for the service, administrators, and whom you name ----------------------------------------
New-Item -ItemType Directory -Force -Path $Data | Out-Null
$rules = @("/inheritance:r", "/grant:r", "*S-1-5-18:(OI)(CI)F", "*S-1-5-32-544:(OI)(CI)F")
if ($Users) { $rules += "${Users}:(OI)(CI)M" }
Invoke-Step -File "$env:SystemRoot\System32\icacls.exe" -Arguments (@($Data) + $rules + "/Q")
$config = Join-Path $Data "agent.toml"
if ($ExcludeFromDefender) {
    Add-MpPreference -ExclusionPath $Data
}
if (-not (Test-Path -LiteralPath $config)) {
    Invoke-Step -File $interpreter -Arguments @("-m", "agent", "init", $Data)
    Write-Host ""
    Write-Host "Now name your sources in $config (shares as \\server\share\folder), then run this script again with the same options."
    exit 0
}

# --- the service ------------------------------------------------------------------------------------------------------
$agent = @("-m", "agent", "--config", $config)
$install = @("service", "install")
if ($Account) { $install += @("--account", $Account) }
Invoke-Step -File $interpreter -Arguments ($agent + $install)
Invoke-Step -File $interpreter -Arguments ($agent + "doctor") -Good @(0, 3)
if ($LASTEXITCODE -eq 3) { throw "The doctor found what would stop the service: mend it, then run this script again with the same options." }
Invoke-Step -File $interpreter -Arguments ($agent + @("service", "start"))
Invoke-Step -File $interpreter -Arguments ($agent + "status")
